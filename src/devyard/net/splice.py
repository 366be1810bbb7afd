"""Joins two connected sockets and passes bytes unread until both directions have ended.

The relay's inner loop. Bytes move socket → kernel pipe → socket (`os.splice`) and never enter this process;
where the kernel refuses, through one bounded buffer per direction. Invariants: a direction reads only when
everything read before has been written (back-pressure end to end), the end of one direction is passed on as
a half-close, a reset as a reset, and an idle stream holds neither pipe nor buffer. docs/design/tunnels.md
"""

import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

PIPE_BYTES = 1024 * 1024
"""The most an ordinary user may ask for; fewer, larger moves cost a third less kernel time than 256 KiB."""
BURST_BYTES = 2 * 1024 * 1024
"""How much one direction moves before other streams get their turn."""
SMALL_BYTES = 16 * 1024
"""A shorter read probably emptied the socket: going back to the poller is cheaper than asking again."""
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
# Where splice is refused, or no descriptor is left for a pipe: a buffer does.
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True)
class SpliceResult:
    """Bytes passed each way, and why it ended early (`error` empty: both sides ended by themselves)."""

    bytes_forward: int
    bytes_back: int
    error: str


class PipePool:
    """Kernel pipes between uses; a direction borrows one only while bytes are under way. At most `max_idle`
    kept.
    """

    def __init__(self, max_idle: int = 32) -> None:
        self._idle: list[tuple[int, int]] = []
        self._max_idle = max_idle

    def take(self) -> tuple[int, int]:
        """An empty pipe (read end, write end)."""
        if self._idle:
            return self._idle.pop()
        pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:  # the user's share of pipe memory is used up: the small default works too
            pass
        return pipe

    def give_back(self, pipe: tuple[int, int]) -> None:
        """Takes an empty pipe back."""
        if len(self._idle) < self._max_idle:
            self._idle.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: tuple[int, int]) -> None:
        """Closes a pipe that may still hold bytes."""
        os.close(pipe[0])
        os.close(pipe[1])

    def close(self) -> None:
        """Closes the idle pipes."""
        while self._idle:
            self.discard(self._idle.pop())


class _PipeMover:
    """Moves bytes through a borrowed pipe. `fill` and `drain` raise BlockingIOError when the socket is not
    ready.
    """

    def __init__(self, pool: PipePool) -> None:
        self._pool = pool
        self._pipe: tuple[int, int] | None = None
        self.pending = 0

    def fill(self, source: socket.socket) -> int:
        pipe = self._pipe = self._pool.take()
        count = 0
        try:
            count = os.splice(source.fileno(), pipe[1], PIPE_BYTES, flags=_FLAGS)
        finally:
            if count == 0:
                self._release()
        self.pending = count
        return count

    def drain(self, target: socket.socket) -> None:
        assert self._pipe is not None
        while self.pending:
            self.pending -= os.splice(self._pipe[0], target.fileno(), self.pending, flags=_FLAGS)
        self._release()

    def close(self) -> None:
        if self._pipe is not None:
            self._pool.discard(self._pipe)
            self._pipe = None

    def _release(self) -> None:
        if self._pipe is not None:
            self._pool.give_back(self._pipe)
            self._pipe = None


class _BufferMover:
    """The same over a buffer in this process."""

    def __init__(self) -> None:
        self._data = memoryview(b"")

    @property
    def pending(self) -> int:
        return len(self._data)

    def fill(self, source: socket.socket) -> int:
        self._data = memoryview(source.recv(PIPE_BYTES))
        return len(self._data)

    def drain(self, target: socket.socket) -> None:
        while self._data:
            self._data = self._data[target.send(self._data) :]

    def close(self) -> None:
        self._data = memoryview(b"")


class _Direction:
    """One way of a stream; calls `on_end` once, with the error or None."""

    def __init__(
        self,
        source: socket.socket,
        target: socket.socket,
        mover: _PipeMover | _BufferMover,
        on_end: Callable[[OSError | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source, self._target = source, target
        self._mover = mover
        self._on_end = on_end
        self.moved = 0

    def start(self) -> None:
        self._loop.add_reader(self._source.fileno(), self._on_readable)

    def stop(self) -> None:
        self._loop.remove_reader(self._source.fileno())
        self._loop.remove_writer(self._target.fileno())
        self._mover.close()

    def _on_readable(self) -> None:
        budget = BURST_BYTES
        try:
            while budget > 0:
                count = self._fill()
                if count == 0:
                    self._finish()
                    return
                self.moved += count
                budget -= count
                self._mover.drain(self._target)
                if count < SMALL_BYTES:
                    return
        except BlockingIOError:
            if self._mover.pending:
                self._loop.remove_reader(self._source.fileno())
                self._loop.add_writer(self._target.fileno(), self._on_writable)
        except OSError as error:
            self._on_end(error)

    def _on_writable(self) -> None:
        try:
            self._mover.drain(self._target)
        except BlockingIOError:
            return
        except OSError as error:
            self._on_end(error)
            return
        self._loop.remove_writer(self._target.fileno())
        self.start()

    def _fill(self) -> int:
        try:
            return self._mover.fill(self._source)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _UNSUPPORTED or isinstance(self._mover, _BufferMover):
                raise
        self._mover = _BufferMover()
        return self._mover.fill(self._source)

    def _finish(self) -> None:
        self._loop.remove_reader(self._source.fileno())
        try:
            self._target.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._on_end(error)
        else:
            self._on_end(None)


async def splice_sockets(
    first: socket.socket, second: socket.socket, pool: PipePool | None, *, sent_forward: int = 0
) -> SpliceResult:
    """Passes bytes both ways until both have ended, then closes both sockets; returns the counts.

    Both must be non-blocking stream sockets without reader or writer. `pool` None means: copy through
    buffers. `sent_forward` bytes were already passed from first to second. Cancellation resets both
    connections.
    """
    done: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    open_directions = 2

    def on_end(error: OSError | None) -> None:
        nonlocal open_directions
        open_directions -= 1
        if not done.done() and (error is not None or open_directions == 0):
            done.set_result(error)

    forward = _Direction(first, second, _mover(pool), on_end)
    back = _Direction(second, first, _mover(pool), on_end)
    error: OSError | None = ConnectionAbortedError(errno.ECONNABORTED, "the relay ended the stream")
    try:
        forward.start()
        back.start()
        error = await done
    finally:
        forward.stop()
        back.stop()
        for sock in (first, second):
            if error is not None:
                reset_on_close(sock)
            sock.close()
    reason = "" if error is None else os.strerror(error.errno or errno.EIO)
    return SpliceResult(sent_forward + forward.moved, back.moved, reason)


def reset_on_close(sock: socket.socket) -> None:
    """Makes the coming close a reset: what was cut off must not look complete to the peer."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:  # already gone
        pass


def _mover(pool: PipePool | None) -> _PipeMover | _BufferMover:
    return _BufferMover() if pool is None else _PipeMover(pool)
