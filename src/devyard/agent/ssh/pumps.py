"""Moves bytes between a child's descriptors and an SSH channel, with back-pressure both ways.

Owned by session.py. Descriptors are non-blocking; nothing here waits. Invariant: an OutPump reads only
while the channel takes more, an InPump holds at most what the channel sent before it was paused.
"""

import asyncio
import os
from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
"""A pipe holds as much; larger buffers are mapped and unmapped by the allocator for each read."""
IN_HIGH_BYTES = 256 * 1024
READS_PER_TURN = 4


class OutPump:
    """Descriptor → channel. `on_data` gets the bytes, `on_end` is called once at the end."""

    def __init__(self, descriptor: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._on_data = on_data
        self._on_end = on_end
        self._is_paused = False
        self._is_reading = False
        os.set_blocking(descriptor, False)

    @property
    def is_paused(self) -> bool:
        """Whether the channel holds it."""
        return self._is_paused

    def start(self) -> None:
        """Begins to read."""
        if self._descriptor >= 0 and not self._is_paused and not self._is_reading:
            self._is_reading = True
            self._loop.add_reader(self._descriptor, self._on_readable)

    def pause(self) -> None:
        """The channel takes no more for now."""
        self._is_paused = True
        self._stop_reading()

    def resume(self) -> None:
        """The channel takes more."""
        self._is_paused = False
        self.start()

    def close(self) -> None:
        """Closes the descriptor; `on_end` is not called."""
        if self._descriptor >= 0:
            self._stop_reading()
            os.close(self._descriptor)
            self._descriptor = -1

    def _stop_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._descriptor)

    def _on_readable(self) -> None:
        for _ in range(READS_PER_TURN):
            try:
                data = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                return
            except OSError:  # EIO: the last process left the terminal
                data = b""
            if not data:
                self.close()
                self._on_end()
                return
            self._on_data(data)
            if self._is_paused or self._descriptor < 0:
                return


class InPump:
    """Channel → descriptor. `pause` and `resume` hold the channel while the child does not read."""

    def __init__(self, descriptor: int, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._pause = pause
        self._resume = resume
        self._buffer = bytearray()
        self._is_ending = False
        self._is_waiting = False
        self._is_holding = False
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> None:
        """Passes bytes on, now or when the child reads."""
        if self._descriptor < 0 or self._is_ending:
            return
        if not self._buffer:
            data = data[self._write_now(data) :]
            if not data or self._descriptor < 0:
                return
        self._buffer += data
        if not self._is_waiting:
            self._is_waiting = True
            self._loop.add_writer(self._descriptor, self._on_writable)
        if len(self._buffer) >= IN_HIGH_BYTES and not self._is_holding:
            self._is_holding = True
            self._pause()

    def end(self) -> None:
        """No more bytes follow: closes the descriptor once everything is written."""
        self._is_ending = True
        if not self._buffer:
            self.close()

    def close(self) -> None:
        """Closes the descriptor; what is not yet written is dropped."""
        if self._descriptor >= 0:
            if self._is_waiting:
                self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._buffer.clear()
        self._release()

    def _write_now(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:  # the child closed its standard input
            self.close()
            return 0

    def _on_writable(self) -> None:
        del self._buffer[: self._write_now(self._buffer)]
        if self._descriptor < 0:
            return
        if not self._buffer:
            self._is_waiting = False
            self._loop.remove_writer(self._descriptor)
            if self._is_ending:
                self.close()
        if len(self._buffer) < IN_HIGH_BYTES // 2:
            self._release()

    def _release(self) -> None:
        if self._is_holding:
            self._is_holding = False
            self._resume()
