"""File transfer over SSH: SFTP, and scp's old protocol where the workspace has no scp program.

asyncssh speaks the protocols; the file system is reached in threads with positioned reads and writes, so
that a slow disk stops one transfer and never the event loop. Paths are the user's own: nothing is hidden.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from devyard.agent.ssh.context import Surroundings


class FileServer(asyncssh.SFTPServer):
    """The real file system, relative to where sessions start."""

    def __init__(self, chan: "asyncssh.SSHServerChannel[bytes]", surroundings: Surroundings) -> None:
        super().__init__(chan)
        self._start = os.fsencode(surroundings.directory)

    def map_path(self, path: bytes) -> bytes:
        """Relative paths start where a shell would."""
        return os.path.join(self._start, path)  # noqa: PTH118 (bytes: names need not be text)

    def reverse_map_path(self, path: bytes) -> bytes:
        """Paths are shown as they are."""
        return path

    def exit(self) -> None:
        """Ends the SFTP subsystem as the program sftp-server would; scp takes a missing status for a failure."""
        if self.channel.get_subsystem() == "sftp":
            self.channel.exit(0)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        """Reads at a position."""
        return await asyncio.to_thread(os.pread, _descriptor(file_obj), size, offset)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        """Writes all of `data` at a position (at the end, for a file opened to append)."""
        return await asyncio.to_thread(_write_all, _descriptor(file_obj), data, offset)

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """Opens a file; a special file does not hold up the loop."""
        return await asyncio.to_thread(super().open, path, pflags, attrs)

    async def close(self, file_obj: object) -> None:
        """Closes a file; what a full disk refuses is reported here."""
        await asyncio.to_thread(super().close, file_obj)

    async def stat(self, path: bytes) -> Any:
        """Attributes, links followed."""
        return await asyncio.to_thread(super().stat, path)

    async def lstat(self, path: bytes) -> Any:
        """Attributes of the name itself."""
        return await asyncio.to_thread(super().lstat, path)

    async def remove(self, path: bytes) -> None:
        """Removes a file."""
        await asyncio.to_thread(super().remove, path)

    async def fsync(self, file_obj: object) -> None:
        """Waits until the disk has it."""
        await asyncio.to_thread(super().fsync, file_obj)

    async def realpath(self, path: bytes) -> bytes:
        """The absolute path without links."""
        return await asyncio.to_thread(os.path.realpath, self.map_path(path))


class FileSession(SSHServerStreamSession[bytes]):
    """asyncssh's stream session, attached to a channel that was opened as a plain session."""

    def __init__(self, channel: "asyncssh.SSHServerChannel[bytes]", surroundings: Surroundings) -> None:
        super().__init__(None, lambda _: FileServer(channel, surroundings), 3, True)
        self._attach = channel

    def start(self) -> None:
        """Begins to serve."""
        self.connection_made(self._attach)
        self.session_started()


def needs_builtin_scp(command: str | None, environment: Mapping[str, str]) -> bool:
    """Whether a command is scp's remote side and the workspace lacks the program."""
    if command is None or not command.startswith(("scp -t", "scp -f", "scp -r", "scp -p", "scp -d", "scp -v")):
        return False
    return shutil.which("scp", path=environment.get("PATH", "")) is None


def _descriptor(file_obj: object) -> int:
    fileno: Callable[[], int] = file_obj.fileno  # type: ignore[attr-defined]  # asyncssh passes its open files as object
    return fileno()


def _write_all(descriptor: int, data: bytes, offset: int) -> int:
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], offset + written)
    return written
