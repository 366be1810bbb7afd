"""`devyard quickstart`: from nothing to a workspace's shell, and later back to the same one.

Called by scripts/try. The steps are in run.py; this file starts them and ends what they started.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from devyard.cli.output import note
from devyard.cli.quickstart.localserver import LocalServer
from devyard.cli.settings import Settings, variables

DEFAULT_ADDRESS = "127.0.0.1:7080"


class _Ended(BaseException):
    """A signal asked for the end."""


@click.command("quickstart")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=None,
    envvar=variables("DATA_DIR"),
    help="Everything of the server (default: ~/.local/share/devyard).",
)
@click.option(
    "--http-address", default="", envvar=variables("HTTP_ADDRESS"), help=f"Where it listens ({DEFAULT_ADDRESS})."
)
@click.option(
    "--sandbox-isolation",
    type=click.Choice(["namespaces", "none"]),
    default=None,
    help="none: the workspace is an ordinary process of this machine, where namespaces are forbidden.",
)
@click.option("--no-shell", is_flag=True, help="Do not enter the workspace; serve until Ctrl-C.")
@click.pass_obj
def quickstart(
    settings: Settings, data_dir: Path | None, http_address: str, sandbox_isolation: str | None, no_shell: bool
) -> None:
    """From nothing to a workspace's shell: server, first administrator, template, workspace."""
    from devyard.cli.quickstart.run import Quickstart, load_kept
    from devyard.cli.quickstart.steps import step

    directory = (data_dir or default_data_dir()).expanduser().absolute()
    server = LocalServer(directory)
    if sandbox_isolation is not None:
        server.options += ["--sandbox-isolation", sandbox_isolation]
    with _ending_on_signals():
        try:
            run = Quickstart(settings, server, load_kept(directory))
            run.prepare(http_address)
            if no_shell or not (sys.stdin.isatty() and sys.stdout.isatty()):
                run.serve()
            else:
                run.enter()
        except (_Ended, KeyboardInterrupt):
            note("")
        finally:
            if server.is_ours:
                with step("Stopping the server"):
                    server.stop()


def default_data_dir() -> Path:
    """The server's own default."""
    root = os.environ.get("XDG_DATA_HOME")
    return Path(root if root else "~/.local/share") / "devyard"


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
