"""Where on this machine a sandbox's limits can be set, cgroup v2 or v1, and the removal of its groups.

runtime.py asks for a plan, launcher.py carries it out. Invariant: a group lies below a folder `devyard` at
the highest place that this user may write, so outside the server's own service, whose restart must not end
it. See docs/design/sandbox.md.
"""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

_PERIOD_US = 100_000
_FOLDER = "devyard"
_V1 = ("pids", "memory", "cpu")
# The v1 hierarchy by which systemd knows whom to kill with a service.
_TRACKER = "name=systemd"


class Limits(msgspec.Struct, frozen=True):
    """Cores, MiB and number of processes; None is no limit."""

    cpus: float | None
    memory_mb: int | None
    pids: int


class Group(msgspec.Struct, frozen=True):
    """A cgroup to make: its directory, the files to write, and where the sandbox sees it ("": nowhere)."""

    dir: str
    files: dict[str, str]
    shown_at: str


class Hierarchy(msgspec.Struct, frozen=True):
    """A place in which groups can be made, and the controllers that it has.

    One without controllers is where a service manager keeps account of who belongs to a service.
    """

    base: str
    version: int
    controllers: tuple[str, ...]


def find_hierarchies(proc: Path = Path("/proc")) -> list[Hierarchy]:
    """Find where this process may make groups; a machine in hybrid mode has one place per v1 controller."""
    own = _own_paths(proc)
    found = []
    for line in (proc / "self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        mount_root, mount = before.split(" ")[3:5]
        kind, _source, options = after.split(" ")[:3]
        place = None
        if kind == "cgroup2":
            place = _v2_place(mount, mount_root, own.get("", "/"))
        elif kind == "cgroup":
            place = _v1_place(mount, mount_root, options.split(","), own)
        if place is not None:
            found.append(place)
    return found


def plan_groups(name: str, limits: Limits, places: list[Hierarchy]) -> tuple[list[Group], list[str]]:
    """Return the groups to make under a name, and what of the limits can't be enforced here."""
    groups = []
    missing = set(_wanted(limits))
    for place in places:
        files = _v2_files(limits, place) if place.version == 2 else _v1_files(limits, place)
        groups.append(Group(dir=f"{place.base}/{_FOLDER}/{name}", files=files, shown_at=_shown_at(place)))
        missing -= set(place.controllers)
    return groups, sorted(missing)


def enter_groups(pid: int, groups: Sequence[Group]) -> list[str]:
    """Make the groups, set their limits, move a process in; return what could not be had, for the log."""
    notes = []
    for group in groups:
        try:
            Path(group.dir).mkdir(parents=True, exist_ok=True)
            for name, value in group.files.items():
                Path(group.dir, name).write_text(value, encoding="ascii")
            Path(group.dir, "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError as error:
            notes.append(f"{group.dir}: {error.strerror}")
    return notes


def remove_group(directory: str, *, patience_s: float = 2.0) -> bool:
    """Kill what is left in a group and remove it; False if the kernel still holds it after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            # Nested groups that the workspace's own tools made go first.
            for path, _dirs, _files in os.walk(directory, topdown=False):
                _kill_members(path)
                os.rmdir(path)  # noqa: PTH106 - a string straight from os.walk
            return not Path(directory).exists()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)


def _kill_members(directory: str) -> None:
    with contextlib.suppress(OSError):
        for line in Path(directory, "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)


def _shown_at(place: Hierarchy) -> str:
    if not place.controllers:
        return ""
    return "/sys/fs/cgroup" if place.version == 2 else f"/sys/fs/cgroup/{place.controllers[0]}"


def _v2_place(mount: str, mount_root: str, own: str) -> Hierarchy | None:
    base = _highest_writable(mount, mount_root, own)
    controllers = _v2_controllers(base) if base else ()
    if base is None or not (controllers or _is_in_service(own)):
        return None
    return Hierarchy(base=base, version=2, controllers=controllers)


def _v1_place(mount: str, mount_root: str, options: list[str], own: dict[str, str]) -> Hierarchy | None:
    wanted = tuple(name for name in _V1 if name in options)
    path = own.get(wanted[0] if wanted else _TRACKER, "/")
    if not wanted and not (_TRACKER in options and _is_in_service(path)):
        return None
    base = _highest_writable(mount, mount_root, path)
    return Hierarchy(base=base, version=1, controllers=wanted) if base else None


def _is_in_service(own: str) -> bool:
    return own != "/"


def _own_paths(proc: Path) -> dict[str, str]:
    paths = {}
    for line in (proc / "self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _highest_writable(mount: str, mount_root: str, own: str) -> str | None:
    """Return the topmost directory, from the mount down to the own group, that this user may add groups to."""
    relative = os.path.relpath(own, mount_root)
    steps = [] if relative == "." or relative.startswith("..") else relative.split("/")
    for depth in range(len(steps) + 1):
        directory = os.path.join(mount, *steps[:depth])  # noqa: PTH118 - a path in another process's words
        if os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK):
            return directory
    return None


def _v2_controllers(base: str) -> tuple[str, ...]:
    """Hand the controllers down to our folder and return those that arrived there.

    A group that holds processes can't hand any down (the kernel answers EBUSY): then there are none for us.
    """
    folder = Path(base, _FOLDER)
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    for directory in (Path(base), folder):
        for name in _V1:
            with contextlib.suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")
    try:
        have = (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return ()
    return tuple(name for name in _V1 if name in have)


def _wanted(limits: Limits) -> list[str]:
    wanted = ["pids"]
    if limits.cpus is not None:
        wanted.append("cpu")
    if limits.memory_mb is not None:
        wanted.append("memory")
    return wanted


def _v2_files(limits: Limits, place: Hierarchy) -> dict[str, str]:
    files = {}
    if "pids" in place.controllers:
        files["pids.max"] = str(limits.pids)
    if limits.memory_mb is not None and "memory" in place.controllers:
        files["memory.max"] = str(limits.memory_mb * 1024 * 1024)
        if Path(place.base, _FOLDER, "memory.swap.max").exists():
            files["memory.swap.max"] = "0"
    if limits.cpus is not None and "cpu" in place.controllers:
        files["cpu.max"] = f"{int(limits.cpus * _PERIOD_US)} {_PERIOD_US}"
    return files


def _v1_files(limits: Limits, place: Hierarchy) -> dict[str, str]:
    files = {}
    if "pids" in place.controllers:
        files["pids.max"] = str(limits.pids)
    if limits.memory_mb is not None and "memory" in place.controllers:
        size = str(limits.memory_mb * 1024 * 1024)
        files["memory.limit_in_bytes"] = size
        if Path(place.base, "memory.memsw.limit_in_bytes").exists():
            files["memory.memsw.limit_in_bytes"] = size
    if limits.cpus is not None and "cpu" in place.controllers:
        files["cpu.cfs_period_us"] = str(_PERIOD_US)
        files["cpu.cfs_quota_us"] = str(int(limits.cpus * _PERIOD_US))
    return files
