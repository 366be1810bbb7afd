"""Runs the launcher process and reads what it says: the host side of launch.py. Blocks; called in a thread.

Invariant: it returns within LAUNCH_LIMIT_S whatever the init script does, and leaves no launcher behind.
"""

import contextlib
import marshal
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .cgroups import Group, enter_groups

LAUNCH_LIMIT_S = 20.0
# How long an init script that does not start our agent (which reports itself) is watched for an early end.
WATCH_S = 0.15
_MOST_BYTES = 64 * 1024
_TAIL_BYTES = 2000


class Launch(msgspec.Struct, frozen=True):
    """How a launch went: the first process, or the error for a person; notes say what was left out."""

    pid: int | None
    error: str | None
    notes: list[str] = msgspec.field(default_factory=list)


def run_launcher(plan: dict[str, Any], groups: Sequence[Group]) -> Launch:
    """Start a sandbox and wait until its agent starts, its script ends, or WATCH_S have passed.

    It is moved into its cgroups from here, while it still loads: the kernel takes 10 to 20 ms for that.
    """
    package_root = str(Path(__file__).resolve().parents[3])
    code = f"import sys; sys.path.insert(0, {package_root!r})\n"
    code += "from devyard.provisioner.sandbox.launch import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the launcher has no pipes")
    with process.stdout as answers:
        notes = enter_groups(process.pid, groups)
        with contextlib.suppress(BrokenPipeError), process.stdin as plans:
            plans.write(marshal.dumps(plan))
        said = _Said()
        is_done = _listen(answers.fileno(), said)
    return msgspec.structs.replace(_conclude(process, said, is_done, Path(plan["log_path"])), notes=notes)


class _Said:
    """What the launcher and the first process have said so far."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.error: str | None = None
        self.exit_code: int | None = None
        self.is_ready = False

    def take(self, line: str) -> bool:
        """Note one line; True if it is the last that matters."""
        word, _, text = line.partition(" ")
        if word == "pid" and self.pid is None:
            self.pid = int(text)
        elif word == "error":
            self.error = text
        elif word == "exit":
            self.exit_code = int(text) if text.isdigit() else 1
        elif word == "ready":
            self.is_ready = True
        return self.error is not None or self.exit_code is not None or self.is_ready


def _listen(fd: int, said: _Said) -> bool:
    """Read lines until one decides; False if none did within the time limits."""
    deadline = time.monotonic() + LAUNCH_LIMIT_S
    is_watching = False
    buffer = b""
    received = 0
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and received < _MOST_BYTES:
        if not poll.poll(left * 1000):
            break
        data = os.read(fd, 4096)
        if not data:
            return False
        received += len(data)
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if said.take(text):
                return True
            if text == "started" and not is_watching:
                is_watching = True
                deadline = time.monotonic() + WATCH_S
    return is_watching


def _conclude(process: "subprocess.Popen[bytes]", said: _Said, is_done: bool, log_path: Path) -> Launch:
    if said.error is None and said.exit_code is None and is_done:
        process.wait(LAUNCH_LIMIT_S)
        return Launch(pid=said.pid, error=None)
    process.kill()
    process.wait()
    if said.pid is not None and said.exit_code is None and said.error is None:
        # It never came to run anything: without its launcher the first process waits in vain.
        with contextlib.suppress(ProcessLookupError):
            os.kill(said.pid, signal.SIGKILL)
    if said.exit_code is not None:
        return Launch(pid=None, error=_early_end(said.exit_code, log_path))
    return Launch(pid=None, error=said.error or "the sandbox could not be set up in time")


def _early_end(code: int, log_path: Path) -> str:
    text = f"The init script ended at once with exit code {code}"
    with contextlib.suppress(OSError):
        tail = log_path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        if tail:
            return f"{text}. Its last output:\n{tail}"
    return f"{text} and printed nothing."
