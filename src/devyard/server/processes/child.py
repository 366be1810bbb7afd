"""One child process of the supervisor: started, watched, restarted with backoff, stopped within a bound.

The supervisor's event loop learns of its end by a pidfd. Children live at most as long as the supervisor
(runtime/parent.py). What a child says on standard output is a line of JSON or nothing.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from devyard.runtime.parent import die_with_parent

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 30.0
STEADY_S = 30.0
"""A child that lived this long has recovered: its next restart is quick again."""
MAX_OUTPUT_LINE = 4096

_log = structlog.get_logger("supervisor")


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """How to start a child. `on_output` gets each line of its standard output, `on_exit` its description."""

    name: str
    command: Callable[[], Sequence[str]]
    death_signal: signal.Signals
    stop_signals: Sequence[tuple[signal.Signals, float]]
    """Signals to stop it with, each with the seconds to wait before the next; SIGKILL follows."""
    first_line: Callable[[], bytes] | None = None
    """What its control pipe begins with; None: it has no control pipe and may not read standard input."""
    environment: Mapping[str, str] | None = None
    pass_fds: tuple[int, ...] = ()
    on_output: Callable[[bytes], None] | None = None
    on_error_line: Callable[[bytes], None] | None = None
    on_exit: Callable[[str], None] | None = None


@dataclass
class _Run:
    """One life of the child."""

    process: subprocess.Popen[bytes]
    pidfd: int
    began_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Child:
    """A child that is kept running from `start` to `stop`."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self._loop = asyncio.get_running_loop()
        self._run: _Run | None = None
        self._backoff_s = FIRST_BACKOFF_S
        self._restart: asyncio.TimerHandle | None = None
        self._is_wanted = False
        self._is_released = False
        self.failures = 0

    @property
    def pid(self) -> int:
        """The running process, 0 when there is none."""
        return self._run.process.pid if self._run is not None else 0

    def start(self) -> None:
        """Starts it, and again whenever it ends. Must run on the main thread: its end takes the child along."""
        self._is_wanted = True
        self._restart = None
        spec = self.spec
        wants_pipe = spec.first_line is not None
        try:
            process = subprocess.Popen(
                list(spec.command()),
                stdin=subprocess.PIPE if wants_pipe else subprocess.DEVNULL,
                stdout=subprocess.PIPE if spec.on_output else None,
                stderr=subprocess.PIPE if spec.on_error_line else None,
                env=spec.environment,
                pass_fds=spec.pass_fds,
                bufsize=0,
                # Not Ctrl-C of the terminal, but the supervisor's order ends a child. And the kernel shares the
                # processor among sessions, so that a busy API or provisioner does not hold up the relay.
                start_new_session=True,
                preexec_fn=die_with_parent(spec.death_signal, os.getpid()),
            )
        except OSError as error:
            self._after_exit(f"cannot be started: {error}", 0.0)
            return
        run = _Run(process, os.pidfd_open(process.pid), self._loop.time())
        self._run = run
        self._loop.add_reader(run.pidfd, self._on_end, run)
        if process.stdout is not None and spec.on_output is not None:
            _read_lines(self._loop, process.stdout.fileno(), spec.on_output)
        if process.stderr is not None and spec.on_error_line is not None:
            _read_lines(self._loop, process.stderr.fileno(), spec.on_error_line)
        if self._is_released:
            self.send_first_line()

    def send_first_line(self) -> None:
        """Writes what the child waits for; from now on each new life gets it at once."""
        self._is_released = True
        run, first_line = self._run, self.spec.first_line
        if run is None or run.process.stdin is None or first_line is None:
            return
        with contextlib.suppress(BrokenPipeError):
            run.process.stdin.write(first_line())

    def send_signal(self, signal_number: signal.Signals) -> None:
        """Signals the running process, if any."""
        if self._run is not None:
            self._run.process.send_signal(signal_number)

    def kill(self) -> None:
        """Ends it for good without patience; `stop` still waits for it."""
        self._is_wanted = False
        self.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ends it for good; returns when it is gone."""
        self._is_wanted = False
        if self._restart is not None:
            self._restart.cancel()
        run = self._run
        if run is None:
            return
        for signal_number, wait_s in (*self.spec.stop_signals, (signal.SIGKILL, 5.0)):
            run.process.send_signal(signal_number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await run.ended.wait()
                    return
            _log.warning(
                "child_does_not_end", child=self.spec.name, pid=run.process.pid, signal=signal_number.name
            )

    def _on_end(self, run: _Run) -> None:
        self._loop.remove_reader(run.pidfd)
        os.close(run.pidfd)
        code = run.process.wait()
        if run.process.stdin is not None:
            run.process.stdin.close()
        self._run = None
        run.ended.set()
        lived_s = self._loop.time() - run.began_at
        self._after_exit(describe_exit(code), lived_s)

    def _after_exit(self, reason: str, lived_s: float) -> None:
        if not self._is_wanted:
            return
        if lived_s >= STEADY_S:
            self._backoff_s = FIRST_BACKOFF_S
        self.failures += 1
        delay_s, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, MAX_BACKOFF_S)
        _log.error(
            "child_ended", child=self.spec.name, reason=reason, lived_s=round(lived_s, 1), restart_in_s=delay_s
        )
        self._restart = self._loop.call_later(delay_s, self.start)
        if self.spec.on_exit is not None:
            self.spec.on_exit(reason)


def describe_exit(code: int) -> str:
    """`exit status 3` or `signal SIGKILL`."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _read_lines(loop: asyncio.AbstractEventLoop, pipe_fd: int, on_line: Callable[[bytes], None]) -> None:
    """Calls `on_line` per line until the pipe ends; owns a copy of the descriptor."""
    fd = os.dup(pipe_fd)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    buffer = bytearray()

    def on_readable() -> None:
        try:
            data = os.read(fd, 64 * 1024)
        except BlockingIOError:
            return
        if not data:
            loop.remove_reader(fd)
            os.close(fd)
            return
        buffer.extend(data)
        *lines, rest = bytes(buffer).split(b"\n")
        buffer[:] = rest[-MAX_OUTPUT_LINE:]
        for line in lines:
            on_line(line[:MAX_OUTPUT_LINE])

    loop.add_reader(fd, on_readable)
