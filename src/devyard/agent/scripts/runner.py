"""Runs one script of the template: child process, time limit, log file, lines to the server, result.

Used for start, stop and cron alike (stages.py). A script leads its own process group and is killed with all
of it at its time limit. What a script leaves running in the background is not killed; while it holds the
script's output open, that output is still read, so that it never dies of a closed pipe.
"""

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from devyard.agent import children
from devyard.agent.environment import expand_path
from devyard.agent.logs import LogShipper
from devyard.agent.outbox import Outbox
from devyard.agent.scripts.lines import LineSplitter
from devyard.agent.ssh.context import Surroundings
from devyard.wire.agentlink import Script, ScriptRun

Stage = Literal["start", "stop", "cron"]
Status = Literal["ok", "exit_failure", "timed_out", "pipes_left_open"]

KILL_GRACE_S = 2.0
PIPES_GRACE_S = 3.0
INLINE_BYTES = 96 * 1024
"""A longer script does not fit the kernel's limit of one argument (128 KiB) and is run from a file."""
LOG_FILE_BYTES = 64 << 20
READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """How a script ended. `exit_code` is 128 + n for a signal n, 127 when it could not be started."""

    status: Status
    exit_code: int


class ScriptRunner:
    """Runs scripts with the agent's environment as it is at their start."""

    def __init__(
        self,
        surroundings: Callable[[], Surroundings],
        data_dir: Path,
        log_dir: Path,
        logs: LogShipper,
        outbox: Outbox,
    ) -> None:
        self._surroundings = surroundings
        self._data_dir = data_dir
        self._log_dir = log_dir
        self._logs = logs
        self._outbox = outbox
        self._readers: set[asyncio.Task[None]] = set()

    async def run(self, script: Script, stage: Stage) -> Outcome:
        """Runs `script` to its end or time limit and reports it. Cancellation kills it."""
        started_at = datetime.now(UTC)
        try:
            outcome = await self._run(script)
        except OSError as error:
            self._logs.add(script.log_source_id, f"The script could not be run: {error}", "error")
            outcome = Outcome("exit_failure", 127)
        self._outbox.put(
            ScriptRun(0, script.id, stage, outcome.status, outcome.exit_code, started_at, datetime.now(UTC))
        )
        return outcome

    async def close(self) -> None:
        """Stops reading what background processes still write."""
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _run(self, script: Script) -> Outcome:
        place = self._surroundings()
        own_dir = self._data_dir / str(script.log_source_id)
        own_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {**place.environment, "CODER_SCRIPT_DATA_DIR": str(own_dir)}
        argv = script_argv(script.script, place.shell, own_dir / f"script-{script.id}")
        our_end, child_end = os.pipe()
        try:
            with open_null() as null:
                child = children.spawn(
                    argv,
                    cwd=place.directory,
                    environment=environment,
                    stdin=null,
                    stdout=child_end,
                    stderr=child_end,
                )
        except OSError:
            os.close(our_end)
            raise
        finally:
            os.close(child_end)
        reader = asyncio.ensure_future(self._read(script, our_end, self._log_path(script, place)))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return await self._wait(script, child, reader)

    async def _wait(self, script: Script, child: children.Child, reader: "asyncio.Task[None]") -> Outcome:
        timed_out = False
        try:
            async with asyncio.timeout(script.timeout_s or None):
                code = await child.wait()
        except TimeoutError:
            timed_out = True
            self._logs.add(script.log_source_id, f"Stopped: not done within {script.timeout_s} s.", "error")
            code = await child.end_group(KILL_GRACE_S)
        except asyncio.CancelledError:
            await child.end_group(KILL_GRACE_S)
            raise
        exit_code = code if code >= 0 else 128 - code
        if timed_out:
            return Outcome("timed_out", exit_code)
        done, _ = await asyncio.wait({reader}, timeout=PIPES_GRACE_S)
        if code != 0:
            self._logs.add(script.log_source_id, f"The script failed with exit status {exit_code}.", "error")
            return Outcome("exit_failure", exit_code)
        return Outcome("ok" if done else "pipes_left_open", 0)

    def _log_path(self, script: Script, place: Surroundings) -> Path:
        if not script.log_path:
            return self._log_dir / f"coder-script-{script.log_source_id}.log"
        text = script.log_path
        is_homely = text.startswith(("~", "/", "$"))
        return expand_path(text, place.home if is_homely else self._log_dir, place.environment)

    async def _read(self, script: Script, descriptor: int, path: Path) -> None:
        """Reads until every writer has closed. Takes the descriptor."""
        splitter = LineSplitter()
        log_file = await asyncio.to_thread(_open_log, path)
        if log_file is None:
            self._logs.add(script.log_source_id, f"The log file {path} can't be written.", "warn")
        written = 0
        loop = asyncio.get_running_loop()
        pipe = open(descriptor, "rb", buffering=0)  # noqa: SIM115, ASYNC230 (a pipe; the transport closes it)
        reader = asyncio.StreamReader(limit=READ_BYTES)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while data := await reader.read(READ_BYTES):
                for line in splitter.feed(data):
                    self._logs.add(script.log_source_id, line)
                if log_file is not None and written < LOG_FILE_BYTES:
                    written += len(data)
                    await asyncio.to_thread(_append, log_file, data, written >= LOG_FILE_BYTES)
            for line in splitter.finish():
                self._logs.add(script.log_source_id, line)
        finally:
            transport.close()
            if log_file is not None:
                log_file.close()


def script_argv(text: str, shell: str, file: Path) -> list[str]:
    """The command that runs a script: its own `#!` interpreter or the user's shell. Long ones through `file`."""
    interpreter = [shell]
    first, _, _ = text.lstrip().partition("\n")
    if first.startswith("#!"):
        with contextlib.suppress(ValueError):
            interpreter = shlex.split(first[2:]) or interpreter
    if len(text.encode()) <= INLINE_BYTES:
        return [*interpreter, "-c", text]
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o700)
    with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123
        out.write(text)
    return [*interpreter, str(file)]


@contextlib.contextmanager
def open_null() -> Iterator[int]:
    """A descriptor of the null device: a script has no input."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_log(path: Path) -> BinaryIO | None:
    """Opened afresh for each run; never through a link that someone else left in a shared directory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        if path.is_symlink() and path.lstat().st_uid != os.getuid():
            return None
        return open(os.open(path, flags, 0o600), "wb", buffering=0)  # noqa: PTH123
    except OSError:
        return None


def _append(log_file: BinaryIO, data: bytes, is_last: bool) -> None:
    with contextlib.suppress(OSError):
        log_file.write(data)
        if is_last:
            log_file.write(b"\n[The log file is full; what follows is left out.]\n")
