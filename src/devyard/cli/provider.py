"""`devyard provider`: the Terraform provider alone, for authors' and modules' own tests."""

import sys
from pathlib import Path

import click


@click.group()
def provider() -> None:
    """The Terraform provider without a server."""


@provider.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["json", "env", "shell"]),
    default="json",
    help="The value alone, NAME=VALUE, or an export command.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write TF_REATTACH_PROVIDERS=VALUE there too, and remove it at the end.",
)
@click.option(
    "--socket-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Where the socket is made; a temporary directory by default.",
)
def serve(output: str, env_file: Path | None, socket_dir: Path | None) -> None:
    """Serve the provider to Terraform until SIGTERM or Ctrl-C.

    The first line printed is the value for TF_REATTACH_PROVIDERS. With it in the environment, terraform plan,
    validate, test and apply use this provider, as many at once as you like, and need no registry. Values come from
    the CODER_* variables of each Terraform process; what those leave out, from the variables of this one.

    \b
      devyard provider serve --env-file provider.env &
      until [ -s provider.env ]; do sleep 0.1; done
      set -a; . ./provider.env; set +a
      terraform test
    """
    import asyncio

    from devyard.runtime.imports import quick_imports

    with quick_imports():
        from devyard.provisioner.plugin.serving import render, write_file
        from devyard.provisioner.plugin.serving import serve as serve_provider

    def announce(value: str) -> None:
        if env_file:
            # Quoted for shells, which read it by `.`; the value itself has no single quote.
            write_file(env_file, f"TF_REATTACH_PROVIDERS='{value}'")
        sys.stdout.write(render(value, output) + "\n")
        sys.stdout.flush()

    try:
        asyncio.run(serve_provider(announce, socket_dir))
    except ValueError as error:
        raise click.ClickException(f"{error}. Choose a shorter --socket-dir.") from None
    finally:
        if env_file:
            env_file.unlink(missing_ok=True)
