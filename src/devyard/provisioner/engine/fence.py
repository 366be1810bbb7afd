"""What a worker of Terraform and all that it starts may use, who belongs to it, and the end of all of them.

One per worker, made before it. A cgroup holds them together where groups can be made (sandbox/cgroups.py knows
where); else they are found by the session, by descent (the worker adopts orphans) and by a marker in their
environment. Calls block for milliseconds: use threads. Invariant: after `kill` nothing that a template started
runs, daemons included, but what a build that succeeded left on purpose (`release`); workspaces are safe, for the
provisioner itself starts them. docs/design/terraform.md
"""

import contextlib
import itertools
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path

import structlog

from devyard.provisioner.sandbox import cgroups
from devyard.provisioner.sandbox.procfs import start_ticks
from devyard.wire.provisionerlink import Limits

MARKER = "TF_DEVYARD_WORKER"
"""A variable by which a process that has left its group and session is still known as the worker's."""
PLUGIN_PREFIX = "terraform-provider-"
_PREFIX = "terraform-"
_RELEASED = "released"
_KILL_PATIENCE_S = 5.0
_BACKSTOP = 4

log = structlog.get_logger()
_numbers = itertools.count(1)


class Fence:
    """Use `Fence.make`, then `enclose` the worker."""

    def __init__(self, places: list[cgroups.Hierarchy], name: str) -> None:
        self.name = name
        self._places = [
            place for place in places if place.version == 2 or {"pids", "memory"} & set(place.controllers)
        ]
        self._limits: Limits | None = None
        self._pid = 0
        self._groups: list[cgroups.Group] = []
        self._ooms_before = self._refusals_before = 0
        self._released: dict[int, int] = {}

    @classmethod
    def make(cls) -> "Fence":
        """A fence around nothing yet."""
        try:
            places = cgroups.find_hierarchies()
        except OSError:
            places = []
        return cls(places, f"{_PREFIX}{os.getpid()}-{start_ticks(os.getpid()) or 0}-{next(_numbers)}")

    @property
    def directories(self) -> list[str]:
        """Where the worker finds its own groups; empty where there are none."""
        return [group.dir for group in self._plan(Limits())]

    def enclose(self, pid: int) -> None:
        """Put the worker in, before it has started anything."""
        self._pid = pid
        groups = self._plan(Limits())
        for group in groups:
            if notes := cgroups.enter_groups(pid, [group]):
                log.info("terraform_group_unusable", why=notes)
                with contextlib.suppress(OSError):
                    Path(group.dir).rmdir()
            else:
                self._groups.append(group)
        self.set_limits(Limits())

    def set_limits(self, limits: Limits) -> None:
        """What the next job may use."""
        if limits == self._limits or not self._pid:
            return
        self._limits = limits
        for group in self._plan(limits):
            for name, value in group.files.items():
                _write(f"{group.dir}/{name}", value)
        size = limits.disk_mb << 20
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(
                self._pid, resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
            )
        if not self._groups and os.geteuid() != 0:
            hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
            wanted = _count_own_tasks() + _BACKSTOP * limits.processes
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(self._pid, resource.RLIMIT_NPROC, (soft, hard))

    def begin(self) -> None:
        """A job begins: what is counted is counted from here."""
        self._ooms_before, self._refusals_before = self._count_ooms(), self._count_refusals()

    def count_tasks(self) -> int:
        """Processes and threads that are there."""
        for group in self._groups:
            with contextlib.suppress(OSError, ValueError):
                return int(_read(f"{group.dir}/pids.current"))
        return len(self.list_members()) + 1

    def has_run_out_of_tasks(self) -> bool:
        """Whether the kernel has refused this job a process."""
        return self._count_refusals() > self._refusals_before

    def measure_memory(self) -> int:
        """Bytes of memory in use; 0 where the kernel enforces the limit itself."""
        if any("memory" in name for group in self._groups for name in group.files):
            return 0
        return sum(_read_rss(pid) for pid in [self._pid, *self.list_members()])

    def has_run_out_of_memory(self) -> bool:
        """Whether the kernel has ended something of this job's for want of memory."""
        return self._count_ooms() > self._ooms_before

    def list_members(self) -> list[int]:
        """All but the worker itself and those that were let go."""
        for group in self._groups:
            with contextlib.suppress(OSError):
                pids = map(int, _read(f"{group.dir}/cgroup.procs").split())
                return [pid for pid in pids if pid != self._pid and not self._is_released(pid)]
        released = {pid for pid in self._released if self._is_released(pid)}
        return _find_descendants(self._pid, self.name, released)

    def release(self, is_spared: Callable[[int], bool] = lambda pid: False) -> list[int]:
        """Lets go what a build that succeeded has left running, but for what `is_spared`: it is the workspace.

        Answers all that were let go and still run.
        """
        self._released = {pid: ticks for pid, ticks in self._released.items() if start_ticks(pid) == ticks}
        for pid in self.list_members():
            if not is_spared(pid) and (ticks := start_ticks(pid)):
                self._released[pid] = ticks
                for group in self._groups:
                    _move_out(pid, group.dir)
        return list(self._released)

    def _is_released(self, pid: int) -> bool:
        return pid in self._released and start_ticks(pid) == self._released[pid]

    def kill(self, is_spared: Callable[[int], bool] = lambda pid: False) -> int:
        """End everything but the worker and what is spared; how many were ended. Nothing new begins meanwhile."""
        killed: set[int] = set()
        deadline = time.monotonic() + _KILL_PATIENCE_S
        while victims := [pid for pid in self.list_members() if not is_spared(pid)]:
            if not killed:
                self._set_forks(allowed=False)
            # All are stopped before the first is killed, so that none sees another die and starts a new one.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in victims:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            killed.update(victims)
            if time.monotonic() > deadline:
                log.error("processes_can_not_be_killed", pids=victims[:20])
                break
            time.sleep(0.002)
        if killed:
            self._set_forks(allowed=True)
        return len(killed)

    def remove(self) -> None:
        """The worker is gone: end what it left, and give the groups back."""
        self.kill()
        for group in self._groups:
            if not cgroups.remove_group(group.dir):
                log.warning("terraform_group_left", dir=group.dir)
        self._groups = []

    def _plan(self, limits: Limits) -> list[cgroups.Group]:
        wanted = cgroups.Limits(cpus=None, memory_mb=limits.memory_mb, pids=limits.processes)
        return cgroups.plan_groups(self.name, wanted, self._places)[0]

    def _set_forks(self, *, allowed: bool) -> None:
        for group in self._groups:
            if "pids.max" in group.files and self._limits:
                _write(f"{group.dir}/pids.max", str(self._limits.processes) if allowed else "0")

    def _count_ooms(self) -> int:
        return self._read_count("oom_kill", "memory.events", "memory.oom_control")

    def _count_refusals(self) -> int:
        return self._read_count("max", "pids.events")

    def _read_count(self, wanted: str, *names: str) -> int:
        for group in self._groups:
            for name in names:
                with contextlib.suppress(OSError, ValueError):
                    for line in _read(f"{group.dir}/{name}").splitlines():
                        word, _, value = line.partition(" ")
                        if word == wanted:
                            return int(value)
        return 0


def is_terraform(pid: int, executable: Path) -> bool:
    """Whether a process is Terraform or a plugin of it, rather than something that a template's script started."""
    try:
        path = Path(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115  # Path.readlink resolves nothing more
    except OSError:
        return False
    return path.name.startswith(PLUGIN_PREFIX) or path == executable.resolve()


def remove_leftovers() -> None:
    """End what provisioners that are gone have left, with their groups."""
    try:
        places = cgroups.find_hierarchies()
    except OSError:
        return
    for place in places:
        for directory in Path(place.base, "devyard").glob(f"{_PREFIX}*-*-*"):
            pid, ticks = directory.name.removeprefix(_PREFIX).split("-")[:2]
            if pid.isdigit() and str(start_ticks(int(pid)) or "gone") != ticks:
                cgroups.remove_group(str(directory))


def _move_out(pid: int, group: str) -> None:
    """Into a group beside, without limits of a job."""
    try:
        outside = Path(group).parent / _RELEASED
        outside.mkdir(exist_ok=True)
        (outside / "cgroup.procs").write_text(str(pid), encoding="ascii")
    except OSError as error:
        log.debug("process_not_moved", pid=pid, why=error.strerror)


def _find_descendants(worker: int, name: str, released: Set[int] = frozenset()) -> list[int]:
    """Without groups: whoever is in the worker's session, descends from it, or carries its marker.

    Not those that were `released`, what descends from them, and who is in a session of theirs.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    free = set(released)
    sessions = {session for pid in released if (session := _read_session(pid)) != worker}
    mark = f"{MARKER}={name}".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            if fields[0] in "ZX":
                continue
            if int(fields[3]) in sessions:
                free.add(pid)
            parents[pid] = int(fields[1])
            is_marked = entry.stat().st_uid == os.geteuid() and mark in _read_bytes(f"/proc/{pid}/environ")
            if is_marked or int(fields[3]) == worker:
                found.add(pid)
    for pid in parents:
        if chain := _climb(pid, parents, free):
            free.update(chain)
    found -= free
    for pid in parents.keys() - free:
        if chain := _climb(pid, parents, found | {worker}):
            found.update(chain)
    return sorted(found - {worker, os.getpid()})


def _climb(pid: int, parents: Mapping[int, int], ends: Set[int]) -> list[int]:
    """A process and its ancestors below the first that is one of `ends`; empty where none is."""
    chain: list[int] = []
    while pid in parents and pid not in ends and len(chain) < 1000:
        chain.append(pid)
        pid = parents[pid]
    return chain if pid in ends else []


def _read_session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _count_own_tasks() -> int:
    count = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{entry.name}/task"))  # noqa: PTH208
    return count


def _read_rss(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * resource.getpagesize()
    return 0


def _read(path: str) -> str:
    return _read_bytes(path).decode("utf-8", "replace")


def _read_bytes(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  # many small files of /proc: Path doubles the time
        return file.read(1 << 20)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        log.debug("terraform_limit_not_set", path=path, why=error.strerror)


def mark(environment: Mapping[str, str], fence: Fence) -> dict[str, str]:
    """The worker's environment with its marker."""
    return {**environment, MARKER: fence.name}
