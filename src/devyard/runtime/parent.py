"""Ties a child process to the one that started it, so that `kill -9` of the parent leaves no orphan.

Two ties, since each has a gap: the kernel's parent-death signal (lost when credentials change), and a pipe on the
child's standard input whose end means that the parent is gone. The pipe also carries the child's settings, so
that secrets stand neither in arguments nor in the environment.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(death_signal: signal.Signals, parent_pid: int) -> Callable[[], None]:
    """A `preexec_fn`: the child gets `death_signal` when the thread that started it ends."""

    def set_up() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent_pid:  # the parent died between fork and prctl
            os._exit(1)

    return set_up


class ControlPipe:
    """The child's end of the pipe: one JSON line with its settings, then silence until the parent is gone."""

    MAX_LINE_BYTES = 256 * 1024

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd

    def read_line(self) -> bytes:
        """The next line, blocking, newline stripped. Raises EOFError when the parent is gone."""
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(self._fd, 1)
            if not byte or len(line) > self.MAX_LINE_BYTES:
                raise EOFError("the parent process is gone")
            line += byte
        return bytes(line[:-1])

    def on_parent_gone(self) -> bool:
        """Reads what is there; True once the pipe has ended. Call it when the descriptor is readable."""
        try:
            return os.read(self._fd, 4096) == b""
        except BlockingIOError:
            return False

    def fileno(self) -> int:
        """The descriptor, for `loop.add_reader`."""
        return self._fd
