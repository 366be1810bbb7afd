"""The bound of what the cache directory holds: the oldest versions go first, then packages that none of them uses.

Called by the template cache after it has made something. Content that hard links share counts once. Invariant:
what somebody uses now stays, whatever the bound.
"""

import errno
import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from devyard.provisioner.templates.archive import ArchiveError

log = structlog.get_logger()

_HALF_MADE = (".new", ".part", ".tar")
_ABANDONED_S = 86_400

Inodes = dict[int, int]
"""Sizes in bytes by inode."""


class Room:
    """Versions in one directory, packages in another, together at most `max_bytes`."""

    def __init__(self, versions: Path, packages: Path, max_bytes: int, max_versions: int) -> None:
        self._versions = versions
        self._packages = packages
        self._max_bytes = max_bytes
        self._max_versions = max_versions

    def make(self, keep: str) -> list[str]:
        """Removes what is over the bound; the names of versions that are gone. `keep` stays."""
        contents = {path: _measure(path) for path in _list_oldest(self._versions)}
        stored = {path: _measure(path) for path in _list_oldest(self._packages)}
        usage = _Usage([*contents.values(), *stored.values()])
        gone: list[str] = []
        self._drop_unused(stored, usage)
        for path in list(contents):
            count = len(contents)
            if usage.total_bytes <= self._max_bytes and count <= self._max_versions:
                break
            if path.name == keep or not remove_unused(path):
                continue
            usage.remove(contents.pop(path))
            gone.append(path.name)
            log.info("template_removed", name=path.name)
            self._drop_unused(stored, usage)
        return gone

    def _drop_unused(self, stored: dict[Path, Inodes], usage: "_Usage") -> None:
        for path in list(stored):
            if usage.total_bytes <= self._max_bytes:
                return
            if not usage.is_shared(stored[path]) and remove_unused(path):
                usage.remove(stored.pop(path))
                log.info("package_removed", name=path.name)


class _Usage:
    """How much space is taken, and by how many each file is used."""

    def __init__(self, contents: list[Inodes]) -> None:
        self._users = Counter(inode for found in contents for inode in found)
        self.total_bytes = sum({inode: size for found in contents for inode, size in found.items()}.values())

    def is_shared(self, found: Inodes) -> bool:
        return any(self._users[inode] > 1 for inode in found)

    def remove(self, found: Inodes) -> None:
        for inode, size in found.items():
            self._users[inode] -= 1
            if not self._users[inode]:
                self.total_bytes -= size


def sweep(*directories: Path) -> None:
    """Removes what killed provisioners have left half made. Blocks; called at a provisioner's start."""
    for directory in directories:
        for path in directory.glob("*") if directory.is_dir() else ():
            if path.suffix in _HALF_MADE:
                _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    """Where nobody holds its lock; one that has none has to be a day old."""
    try:
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        descriptor = -1
        if time.time() - path.stat().st_mtime < _ABANDONED_S:
            return
    try:
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        log.info("half_made_removed", path=str(path))
    except OSError:
        pass  # somebody makes it now
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def remove_unused(place: Path) -> bool:
    """Removes a version or a package that nobody uses now."""
    descriptor = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (place / "initialized").unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        # The lock file stays: removing it would let two processes hold "the" lock.
        return not place.exists()
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def explained_full_disk(directory: Path) -> Iterator[None]:
    """Turns a disk or quota that is full into a sentence (ArchiveError)."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ArchiveError(
            f"The provisioner's disk is full: {directory} has no room for this job. Free some space there, or "
            "lower the provisioner's --cache-bytes; then try again."
        ) from error


def _list_oldest(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    places = (path for path in directory.iterdir() if path.is_dir() and not path.suffix)
    return sorted(places, key=lambda path: path.stat().st_mtime)


def _measure(directory: Path) -> Inodes:
    found: Inodes = {}
    for root, _, names in os.walk(directory):
        for name in names:
            status = os.lstat(os.path.join(root, name))  # noqa: PTH118  # hot loop
            found[status.st_ino] = status.st_size
    return found
