"""`devyard server`: reads the settings and becomes the supervisor; the hidden `server api` is its child."""

import os
import sys

import click

from devyard.runtime.imports import quick_imports

with quick_imports():
    from devyard.cli.lazy import Entry, LazyGroup
    from devyard.server.options import OptionError
    from devyard.server.settings import click_options, load_settings


SUBCOMMANDS = {
    "encryption": Entry(
        "devyard.cli.serverencryption:encryption", "Keys that secrets in the database are sealed with."
    ),
}


@click.group(cls=LazyGroup, entries=SUBCOMMANDS, invoke_without_command=True)
@click_options()
@click.pass_context
def server(context: click.Context, /, **flags: str | None) -> None:
    """Run the server: API, dashboard, relay, built-in provisioners and database.

    Every option is also an environment variable and a key of the YAML file named by --config.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        loaded = load_settings(flags, os.environ)
    except OptionError as error:
        raise click.ClickException(str(error)) from None
    with quick_imports():
        from devyard.server.processes.supervisor import run_supervisor

    sys.exit(run_supervisor(loaded))


@server.command(hidden=True)
@click.option("--app", required=True)
def api(app: str) -> None:
    """Run one API process; started by `devyard server`."""
    with quick_imports():
        from devyard.server.processes.apiprocess import run_api_process

    run_api_process(app)
