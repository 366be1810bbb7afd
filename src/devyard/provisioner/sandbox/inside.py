"""Pid 1 of a sandbox: passes SIGTERM on to the agent, reaps what is orphaned, keeps the log within its bound.

Called by launch.py once the tree stands and the init script runs. Invariant: it ends when the init script's
process ends, and with it (it is pid 1) everything else in the sandbox.
"""

from __future__ import annotations

import os
import select

from .procfs import descendants

_CHUNK = 16 * 1024
_SIGINT, _SIGKILL, _SIGTERM = 2, 9, 15


class BoundedLog:
    """A log file that never grows beyond `limit` bytes: of what is too much the newest quarter stays."""

    def __init__(self, fd: int, limit: int) -> None:
        self._fd = fd
        self._limit = limit
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append; drops what a full disk does not take."""
        try:
            if self._size + len(data) > self._limit:
                self._shorten()
            self._size += os.pwrite(self._fd, data, self._size)
        except OSError:
            return

    def _shorten(self) -> None:
        keep = self._limit // 4
        tail = os.pread(self._fd, keep, max(0, self._size - keep))
        text = b"[earlier output was dropped]\n" + tail.partition(b"\n")[2]
        os.ftruncate(self._fd, 0)
        self._size = os.pwrite(self._fd, text, 0)


def supervise(main_pid: int, log_r: int, log_fd: int, log_bytes: int, *, is_alone: bool) -> int:
    """Serve until `main_pid` ends; return its exit status, 128 + n for signal n.

    Without a pid namespace of its own (`is_alone` false) what the main process left running is killed here.
    """
    # Imported now that the script runs: its enumerations cost 5 ms.
    import signal

    log = BoundedLog(log_fd, log_bytes)
    wake_r, wake_w = os.pipe()
    os.set_blocking(wake_r, False)
    os.set_blocking(wake_w, False)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    poll = select.poll()
    poll.register(wake_r, select.POLLIN)
    poll.register(log_r, select.POLLIN)
    code = None
    while code is None:
        code = _reap(main_pid)
        if code is not None:
            break
        for fd, _event in poll.poll():
            if fd == log_r and not _drain(log_r, log):
                poll.unregister(log_r)
            if fd == wake_r:
                _pass_on(os.read(wake_r, 256), main_pid)
    os.set_blocking(log_r, False)
    for _ in range(16):
        if not _drain(log_r, log):
            break
    if not is_alone:
        _kill_rest()
    return code


def _drain(log_r: int, log: BoundedLog) -> bool:
    try:
        data = os.read(log_r, _CHUNK)
    except BlockingIOError:
        return False
    log.write(data)
    return bool(data)


def _pass_on(numbers: bytes, main_pid: int) -> None:
    for number in numbers:
        if number in (_SIGTERM, _SIGINT):
            _signal(main_pid, _SIGTERM)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(main_pid: int) -> int | None:
    """Collect every child that has ended; return the main process's status if it is among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == main_pid:
            raw = os.waitstatus_to_exitcode(status)
            code = raw if raw >= 0 else 128 - raw


def _kill_rest() -> None:
    for _ in range(50):
        left = descendants(os.getpid())
        for pid in left:
            _signal(pid, _SIGKILL)
        _reap(0)
        if not left:
            return
        select.select([], [], [], 0.01)
