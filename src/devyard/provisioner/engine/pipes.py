"""Reading lines from a pipe on the event loop, as they come, bounded.

Used for Terraform's output. Invariant: the pipe is read to its end however fast it fills; a line over the limit
is cut and its rest thrown away.
"""

import asyncio
import os
from collections.abc import Callable

_CHUNK_BYTES = 1 << 16


class LineReader:
    """Calls `on_line` with each line of a pipe (without its end); owns the descriptor and closes it."""

    def __init__(self, descriptor: int, on_line: Callable[[bytes], None], max_line_bytes: int) -> None:
        self._descriptor = descriptor
        self._on_line = on_line
        self._max = max_line_bytes
        self._rest = bytearray()
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def close(self) -> None:
        """Stops reading; what came so far without a line end counts as a line."""
        if self.ended.is_set():
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.ended.set()
        if self._rest:
            self._on_line(bytes(self._rest))

    def _read(self) -> None:
        try:
            chunk = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            self.close()
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._append(line)
            self._on_line(bytes(self._rest))
            self._rest.clear()
        self._append(rest)

    def _append(self, part: bytes) -> None:
        self._rest += part[: max(0, self._max - len(self._rest))]
