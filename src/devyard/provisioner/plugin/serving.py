"""`devyard provider serve`: the provider alone, for any Terraform on this machine that is told where it listens.

Called by the CLI. Invariant: every connection has values and a capture of its own, so several runs of Terraform at
once never see each other; the socket is gone when this ends.
"""

import asyncio
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from devyard.provisioner.plugin.connections import find_job
from devyard.provisioner.provider.server import ProviderServer

VARIABLE = "TF_REATTACH_PROVIDERS"


async def serve(announce: Callable[[str], None], socket_directory: Path | None = None) -> None:
    """Serves until SIGTERM or SIGINT. `announce` gets the value of TF_REATTACH_PROVIDERS once it can be used.

    Raises ValueError where the directory's path is too long for a socket.
    """
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    own = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="dyp-", dir=socket_directory) as directory:
        socket_path = await asyncio.to_thread(Path(directory, "s").absolute)
        server = await ProviderServer.start(socket_path, find_job=lambda peer: find_job(own, peer))
        try:
            announce(json.dumps(server.reattach(), separators=(",", ":")))
            await ended.wait()
        finally:
            await server.close()


def render(value: str, form: str) -> str:
    """The line that is printed: `json` the value alone, `env` `NAME=value`, `shell` a command for `eval`."""
    return {
        "json": value,
        "env": f"{VARIABLE}={value}",
        "shell": f"export {VARIABLE}={shlex.quote(value)}",
    }[form]


def write_file(path: Path, text: str) -> None:
    """Writes a line so that a reader who waits for the file never sees half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text + "\n")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
