"""Starts child processes and waits for them without threads: each in its own session, watched by a pidfd.

Used by scripts, metadata and SSH sessions. Popen is called without `preexec_fn`, so that CPython can vfork:
no Python runs between fork and exec, whatever locks other threads hold. Every child leads its own process
group, and is killed with it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_CTTY_SCRIPT = 'exec "$@" <>"$0"'
"""Run by /bin/sh as session leader: opening the terminal by name makes it the controlling one."""


class Child:
    """A running child. `returncode` is negative for a signal, as in subprocess."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self.pid = process.pid
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError:  # an old kernel, or a sandbox that forbids it
            self._pidfd = -1
            self._poll()
        else:
            self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def returncode(self) -> int | None:
        """The exit status, None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Waits for the process itself (not for its group) and returns its exit status."""
        return await asyncio.shield(self._ended)

    def signal_group(self, number: int) -> None:
        """Sends a signal to the child's process group, if there still is one."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def end_group(self, grace_s: float) -> int:
        """SIGTERM to the group, SIGKILL when the child is still there after `grace_s`; returns its status."""
        self.signal_group(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.wait()
        self.signal_group(signal.SIGKILL)
        return await self.wait()

    def _on_exit(self) -> None:
        code = self._process.poll()
        if code is None:
            return
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if not self._ended.done():
            self._ended.set_result(code)

    def _poll(self) -> None:
        self._on_exit()
        if not self._ended.done():
            self._loop.call_later(0.05, self._poll)


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
) -> Child:
    """Starts `argv` with these three descriptors, which stay the caller's. Raises OSError."""
    # Popen returns after exec: about a millisecond, during which the loop stands still.
    process = subprocess.Popen(
        argv, cwd=cwd, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
    )
    return Child(process)


def spawn_on_terminal(argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], terminal: int) -> Child:
    """Starts `argv` with the pty end `terminal` as its controlling terminal. Raises OSError."""
    wrapped = ["/bin/sh", "-c", _CTTY_SCRIPT, os.ttyname(terminal), *argv]
    return spawn(wrapped, cwd=cwd, environment=environment, stdin=terminal, stdout=terminal, stderr=terminal)


def describe_start_error(argv: Sequence[str], cwd: Path, error: OSError) -> str:
    """What to tell a person whose command could not be started."""
    return f"{argv[0]} could not be started in {cwd}: {error.strerror or error}"
