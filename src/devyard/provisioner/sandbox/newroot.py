"""Builds the file tree that a sandbox sees, mount by mount, from an allow-list.

Called by the launcher's child inside a mount namespace of its own; the plan (what is visible) is decided in
layout.py. Invariant: nothing of the host is reachable that the plan does not name, and all but the home,
/tmp, /var/tmp, /dev/shm and /run/user is read-only. See docs/design/sandbox.md.
"""

# pathlib would cost every start 8 ms:
# ruff: noqa: PTH102, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211

from __future__ import annotations

import os
import stat

from . import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_QUIET = k.MS_NOSUID | k.MS_NODEV
# statvfs flag → mount flag. A bind made in a user namespace may not lose the flags its source is locked with.
_LOCKED = (
    (os.ST_NOSUID, k.MS_NOSUID),
    (os.ST_NODEV, k.MS_NODEV),
    (os.ST_NOEXEC, k.MS_NOEXEC),
    (os.ST_NOATIME, k.MS_NOATIME),
    (os.ST_NODIRATIME, k.MS_NODIRATIME),
    (os.ST_RELATIME, k.MS_RELATIME),
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


class NewRoot:
    """One sandbox's tree under construction at `top`; `uid` and `gid` own what the workspace may write."""

    def __init__(self, top: str, plan: dict[str, Any], uid: int, gid: int) -> None:
        self.top = top
        self.plan = plan
        self.uid = uid
        self.gid = gid

    def enter(self) -> None:
        """Mount everything and make it the root; needs a mount and a pid namespace and the right to mount."""
        k.mount("none", "/", None, k.MS_REC | k.MS_PRIVATE)
        k.mount("tmpfs", self.top, "tmpfs", _QUIET, "mode=755,size=8m")
        self._writable_places()
        for path in self.plan["binds"]:
            self._bind_read_only(path, path)
        self._bind_read_only("/etc", "/.etc")
        self._etc()
        for path, target in self.plan["links"]:
            self._link(path, target)
        for path in self.plan["masks"]:
            self._mask(path)
        self._devices()
        for source, target in self.plan["shown"]:
            self._bind_read_only(source, target)
        for path, text in self.plan["programs"].items():
            self._write(path, text, 0o755)
        self._proc()
        k.pivot_into(self.top)
        k.mount("none", "/", None, k.MS_REMOUNT | k.MS_BIND | k.MS_RDONLY | _QUIET)

    def _at(self, path: str) -> str:
        return self.top + path

    def _make_dirs(self, path: str) -> None:
        """Make a directory and its parents in the new root, all mode 755."""
        made = self.top
        for part in path.strip("/").split("/"):
            made = f"{made}/{part}"
            try:
                os.mkdir(made, 0o755)
            except FileExistsError:
                continue

    def _tmpfs(self, path: str, mode: str, options: str = "") -> None:
        self._make_dirs(path)
        k.mount("tmpfs", self._at(path), "tmpfs", _QUIET, f"mode={mode}{options}")

    def _writable_places(self) -> None:
        owner = f",uid={self.uid},gid={self.gid}"
        size = f",size={self.plan['run_mb']}m"
        self._tmpfs(f"/run/user/{self.plan['inner_id']}", "700", f"{owner}{size}")
        for source, target in self.plan["writable"]:
            self._make_dirs(target)
            k.mount(source, self._at(target), None, k.MS_BIND)
            _remount(self._at(target), _QUIET)
        for empty in ("/home", "/var/lib", "/var/cache", "/var/log", "/mnt", "/sys"):
            self._make_dirs(empty)
        os.symlink("/run", self._at("/var/run"))

    def _bind_read_only(self, source: str, target: str) -> None:
        where = self._at(target)
        if os.path.isdir(source):
            self._make_dirs(target)
        else:
            self._make_dirs(os.path.dirname(target))
            with open(where, "a"):
                pass
        k.mount(source, where, None, k.MS_BIND | k.MS_REC)
        for point in _mounts_below(where):
            _remount(point, k.MS_RDONLY | _QUIET)

    def _etc(self) -> None:
        """Fill /etc with links into the host's, read-only at /.etc, and with the sandbox's own files.

        Links, because a file mounted over a file is lost when the host replaces the lower one by rename (as
        every tool writes /etc/passwd and /etc/resolv.conf); /.etc, because relative links inside keep their
        depth.
        """
        own = self.plan["etc"]
        self._make_dirs("/etc")
        for entry in os.scandir("/etc"):
            path = f"/etc/{entry.name}"
            if entry.name in own or any(name.startswith(f"{entry.name}/") for name in own):
                continue
            if entry.is_symlink():
                self._link(path, os.readlink(entry.path))
            elif entry.stat().st_mode & stat.S_IROTH:
                self._link(path, f"/.etc/{entry.name}")
        for name, text in own.items():
            if text is None:
                self._make_dirs(f"/etc/{name}")
            else:
                self._write(f"/etc/{name}", text, 0o644)
        for folder in {name.split("/")[0] for name in own if "/" in name}:
            self._link_rest(folder, own)

    def _link_rest(self, folder: str, own: dict[str, str | None]) -> None:
        """Link what a folder of /etc holds beside the entries that are the sandbox's own."""
        if not os.path.isdir(f"/etc/{folder}"):
            return
        for entry in os.scandir(f"/etc/{folder}"):
            if f"{folder}/{entry.name}" not in own:
                self._link(f"/etc/{folder}/{entry.name}", f"/.etc/{folder}/{entry.name}")

    def _write(self, path: str, text: str, mode: int) -> None:
        self._make_dirs(os.path.dirname(path))
        with open(self._at(path), "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)

    def _link(self, path: str, target: str) -> None:
        parent = os.path.dirname(path)
        if parent != "/":
            self._make_dirs(parent)
        os.symlink(target, self._at(path))

    def _mask(self, path: str) -> None:
        """Put an empty directory or file over what must not be seen, where the new root shows it at all."""
        where = self._at(path)
        if os.path.islink(where) or not os.path.lexists(where):
            return
        if os.path.isdir(where):
            k.mount("tmpfs", where, "tmpfs", _QUIET | k.MS_RDONLY, "mode=755,size=4k")
        else:
            k.mount("/dev/null", where, None, k.MS_BIND)

    def _devices(self) -> None:
        self._tmpfs("/dev", "755", ",size=64k")
        for name in _DEVICES:
            with open(self._at(f"/dev/{name}"), "w"):
                pass
            k.mount(f"/dev/{name}", self._at(f"/dev/{name}"), None, k.MS_BIND)
        self._make_dirs("/dev/pts")
        group = self.plan["tty_gid"]
        options = "newinstance,ptmxmode=0666,mode=0620" + (f",gid={group}" if group is not None else "")
        k.mount("devpts", self._at("/dev/pts"), "devpts", k.MS_NOSUID | k.MS_NOEXEC, options)
        self._tmpfs("/dev/shm", "1777", f",size={self.plan['shm_mb']}m")  # noqa: S108
        for path, target in (
            ("/dev/ptmx", "pts/ptmx"),
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ):
            os.symlink(target, self._at(path))
        _remount(self._at("/dev"), k.MS_RDONLY | k.MS_NOSUID)

    def _proc(self) -> None:
        self._make_dirs("/proc")
        k.mount("proc", self._at("/proc"), "proc", _QUIET | k.MS_NOEXEC)


def _mounts_below(where: str) -> list[str]:
    """List the mount points at and below a path, outermost first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = line.split(" ", 5)[4]
            if "\\" in point:
                point = point.encode("latin-1", "surrogateescape").decode("unicode_escape")
            if point == where or point.startswith(f"{where}/"):
                found.append(point)
    return found


def _remount(point: str, flags: int) -> None:
    """Set flags on a mount, keeping those that its source was locked with."""
    try:
        has = os.statvfs(point).f_flag
    except OSError:
        # A submount that the mounter itself can't look at (fuse, a stale share): nobody inside can either.
        return
    for seen, wanted in _LOCKED:
        if has & seen:
            flags |= wanted
    k.mount("none", point, None, k.MS_REMOUNT | k.MS_BIND | flags)
