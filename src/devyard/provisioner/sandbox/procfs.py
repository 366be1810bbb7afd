"""What the sandbox code reads of /proc: whether a process still is the one that was recorded.

Used by the launcher and by the runtime; standard library only. A process is known by pid and start time
(field 22 of /proc/PID/stat, proc(5)), since pids are used again; a zombie counts as gone.
"""

# pathlib would cost every start 8 ms:
# ruff: noqa: PTH123, PTH208

import os


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third (state) on, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if there is none or only a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[19])


def owns_ids(first: int, count: int) -> bool:
    """Tell whether ids of the host can be given away: not by the root of a container with ids of its own."""
    for name in ("uid_map", "gid_map"):
        try:
            with open(f"/proc/self/{name}", encoding="ascii") as file:
                maps = [[int(number) for number in line.split()] for line in file]
        except OSError:
            return False
        if not any(inside <= first and first + count <= inside + size for inside, _outside, size in maps):
            return False
    return True


def boot_id() -> str:
    """Return this boot's id, so that a record from before a reboot never matches."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """List the live processes below `pid`, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields is not None and fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found.extend(below)
        queue.extend(below)
    return found
