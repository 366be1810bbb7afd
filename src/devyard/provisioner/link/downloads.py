"""Archives on their way over the session's socket into files.

The session feeds chunks; a job waits in `fetch`. Invariant: a file is handed over only when every byte from the
first to the last has come in order; after a reconnect it starts again.
"""

import asyncio
from pathlib import Path
from uuid import UUID

from devyard.provisioner.templates.archive import ArchiveError
from devyard.wire.provisionerlink import Archive, FileChunk


class Download:
    """One archive being received into `target`."""

    def __init__(self, archive: Archive, target: Path) -> None:
        self._archive = archive
        self._file = target.open("wb")
        self._offset = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def file_id(self) -> UUID:
        """The file that is asked for."""
        return self._archive.file_id

    async def wait(self) -> None:
        """Returns when all is there. Raises ArchiveError."""
        try:
            await self._ended
        finally:
            self._file.close()

    async def take(self, chunk: FileChunk) -> None:
        """The next chunk."""
        if chunk.file_id != self.file_id or self._ended.done():
            return
        if chunk.offset != self._offset:
            self._fail("parts of it arrived out of order")
            return
        self._offset += len(chunk.data)
        if self._offset > self._archive.size_bytes:
            self._fail("it is longer than announced")
            return
        await asyncio.to_thread(self._file.write, chunk.data)
        if chunk.last:
            if self._offset != self._archive.size_bytes:
                self._fail("it is shorter than announced")
                return
            await asyncio.to_thread(self._file.flush)
            self._ended.set_result(None)

    def restart(self) -> None:
        """The connection was lost; begin with the first byte."""
        self._file.seek(0)
        self._file.truncate()
        self._offset = 0

    def _fail(self, why: str) -> None:
        self._ended.set_exception(ArchiveError(f"The template's archive can't be downloaded: {why}. Try again."))
