"""The record of each sandbox on disk, and the exclusive right to change one.

Written by the launcher, read by every provisioner on the machine: `sandboxes/ID/record.json`. Invariant: a
process is signalled only through a pidfd whose start time was compared after it was opened, so that a pid
that is used again is never hit.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from devyard.provisioner.provider.sandboxes import SandboxError

from .procfs import boot_id, start_ticks


class Record(msgspec.Struct, frozen=True):
    """What the launcher wrote of a sandbox; ids in `uid_base` are the host's."""

    id: str
    home_id: str | None
    mode: str
    uid_base: int | None
    boot_id: str
    groups: list[str]
    pid: int
    start_ticks: int


def start_of_record(known: dict[str, object]) -> str:
    """Return the record's JSON up to what only the launcher knows (pid, start_ticks), without the end."""
    return msgspec.json.encode(known).decode().removesuffix("}")


def load_record(directory: Path) -> Record | None:
    """Read a sandbox's record; None where there is none, or a damaged one."""
    try:
        return msgspec.json.decode((directory / "record.json").read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def open_process(record: Record) -> int | None:
    """Return a pidfd of the sandbox's first process, or None if that process is gone."""
    if record.boot_id != boot_id():
        return None
    try:
        fd = os.pidfd_open(record.pid)
    except OSError:
        return None
    if start_ticks(record.pid) == record.start_ticks:
        return fd
    os.close(fd)
    return None


def is_running(record: Record) -> bool:
    """Tell whether the recorded process still is there."""
    fd = open_process(record)
    if fd is None:
        return False
    os.close(fd)
    return True


async def wait_for_exit(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process has ended; False after `timeout_s`."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Signal the process behind a pidfd; one that has ended is no error."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


@contextlib.asynccontextmanager
async def exclusive(locks: Path, name: str, *, patience_s: float = 60.0) -> AsyncIterator[None]:
    """Hold the lock of one sandbox or home against all processes on the machine.

    Raises SandboxError after `patience_s`. The file goes with the lock; who waited on a file that is gone
    starts over.
    """
    path = locks / name
    deadline = asyncio.get_running_loop().time() + patience_s
    while (fd := _try_lock(path)) is None:
        if asyncio.get_running_loop().time() > deadline:
            raise SandboxError(f"{name} is busy for {patience_s:.0f} s now: another build still works on it.")
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _try_lock(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(path).st_ino:  # noqa: PTH116
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None
