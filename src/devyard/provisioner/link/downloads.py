"""Files on their way over the session's socket: templates' archives, and (by packages.py) their packages.

The session feeds parts; a job waits. Invariant: a file is handed over only when every byte from the first to the
last has come in order; after a reconnect it starts again; a disk that is full ends the download, not the session.
"""

import asyncio
from pathlib import Path
from uuid import UUID

from devyard.provisioner.templates.archive import ArchiveError
from devyard.wire.provisionerlink import Archive, FileChunk


class Incoming:
    """`size_bytes` being received into the file `target`; `name` is for people."""

    def __init__(self, target: Path, size_bytes: int, name: str) -> None:
        self._file = target.open("wb")
        self._size_bytes = size_bytes
        self._name = name
        self._offset = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Returns when all is there. Raises ArchiveError, OSError."""
        try:
            await self._ended
        finally:
            self._file.close()

    async def take(self, offset: int, data: bytes, *, is_last: bool) -> None:
        """The next part."""
        if self._ended.done():
            return
        if offset != self._offset:
            self._fail("parts of it arrived out of order")
            return
        self._offset += len(data)
        if self._offset > self._size_bytes:
            self._fail("it is longer than announced")
            return
        try:
            await asyncio.to_thread(self._write, data, is_last)
        except (OSError, ValueError) as error:  # ValueError: whoever waited has gone, and closed the file
            if not self._ended.done():
                self._ended.set_exception(error)
            return
        if is_last and not self._ended.done():
            if self._offset == self._size_bytes:
                self._ended.set_result(None)
            else:
                self._fail("it is shorter than announced")

    def restart(self) -> None:
        """The connection was lost; begin with the first byte."""
        if self._ended.done():
            return
        self._file.seek(0)
        self._file.truncate()
        self._offset = 0

    def _write(self, data: bytes, is_last: bool) -> None:
        self._file.write(data)
        if is_last:
            self._file.flush()

    def _fail(self, why: str) -> None:
        self._ended.set_exception(ArchiveError(f"{self._name} can't be downloaded: {why}. Try again."))


class Download:
    """One template's archive being received into `target`."""

    def __init__(self, archive: Archive, target: Path) -> None:
        self.file_id: UUID = archive.file_id
        self._incoming = Incoming(target, archive.size_bytes, "The template's archive")

    async def wait(self) -> None:
        """Returns when all is there. Raises ArchiveError, OSError."""
        await self._incoming.wait()

    async def take(self, chunk: FileChunk) -> None:
        """The next chunk; of another file it is dropped."""
        if chunk.file_id == self.file_id:
            await self._incoming.take(chunk.offset, chunk.data, is_last=chunk.last)

    def restart(self) -> None:
        """The connection was lost; begin with the first byte."""
        self._incoming.restart()
