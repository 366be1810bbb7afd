"""`devyard proxy start`: the relay as a program. The server starts it as its child with `--embedded`."""

import sys

import click


@click.group()
def proxy() -> None:
    """Run a workspace proxy."""


@proxy.command()
@click.option(
    "--embedded", is_flag=True, hidden=True, help="Started by the server; settings come by standard input."
)
def start(embedded: bool) -> None:
    """Run the relay that carries streams between users and agents.

    For now it runs as part of `devyard server`, which starts it by itself.
    """
    if not embedded:
        raise click.ClickException(
            "A workspace proxy on a machine of its own is not available yet; "
            "`devyard server` runs its built-in one."
        )
    from devyard.runtime.imports import quick_imports

    with quick_imports():
        import msgspec
        import uvloop

        from devyard.net.relayconfig import RelayConfig
        from devyard.proxy.relay import run_relay
        from devyard.runtime.logs import set_up_logs
        from devyard.runtime.parent import ControlPipe
        from devyard.runtime.scheduling import prefer_latency

    prefer_latency()
    control = ControlPipe()
    try:
        config = msgspec.json.decode(control.read_line(), type=RelayConfig)
    except EOFError:
        sys.exit(1)
    set_up_logs(config.log_format, config.log_level, process="relay")
    uvloop.run(run_relay(config, control))
