"""Directories as packages: archives whose bytes depend on nothing but names, content and executable bits.

Made at import (jobs/packing.py), unpacked by the package store. Invariant: the same directory gives the same
SHA-256 on every machine, whoever owns it and whenever it was made; so versions can share packages.
"""

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from devyard.provisioner.templates.archive import ArchiveError, Limits, unpack_archive

LEVEL = 1
"""Of compression: a provider of 90 MB is mostly code, on which more effort gains a few per cent."""
UNPACKED_LIMITS = Limits(total_bytes=8 << 30, entries=200_000, depth=64)
_SKIPPED = (".git",)


class PackageTooLarge(Exception):
    """The archive would be larger than allowed."""


class PackageError(Exception):
    """The directory can't be packed; the text says why."""


def pack_directory(source: Path, target: Path, max_bytes: int) -> tuple[str, int]:
    """Packs `source` into the new file `target`; its SHA-256 and size in bytes.

    Raises PackageTooLarge, PackageError, OSError; then `target` is gone.
    """
    try:
        with target.open("xb") as file:
            sink = _Sink(file, max_bytes)
            with (
                gzip.GzipFile("", "wb", LEVEL, sink, mtime=0) as zipped,
                tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for relative, path in _list_entries(source):
                    _add(tar, relative, path, source)
        return sink.digest.hexdigest(), sink.size_bytes
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def fingerprint_directory(source: Path) -> str:
    """What decides a package's bytes, as one SHA-256, many times quicker than packing. Raises OSError."""
    digest = hashlib.sha256()
    for relative, path in _list_entries(source):
        mode = path.lstat().st_mode
        what = str(path.readlink()) if stat.S_ISLNK(mode) else ""
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                what = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{relative}\0{stat.S_IFMT(mode)}\0{mode & 0o111 != 0}\0{what}\0".encode())
    return digest.hexdigest()


def unpack_package(archive: Path, target: Path) -> None:
    """Unpacks a package into the empty directory `target`. Raises ArchiveError, OSError."""
    unpack_archive(archive, target, UNPACKED_LIMITS)


def check_package(archive: Path, sha256: str) -> None:
    """Raises ArchiveError where the file is another than its name says."""
    with archive.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ArchiveError("A package of the template arrived damaged: its SHA-256 is another. Try again.")


class _Sink:
    """A file that is hashed as it is written."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self._file = file
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> int:
        self.size_bytes += len(data)
        if self.size_bytes > self._max_bytes:
            raise PackageTooLarge
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _list_entries(source: Path) -> Iterator[tuple[str, Path]]:
    """Everything below, each directory before what is in it, in an order of its own."""
    for root, directories, files in os.walk(source):
        directories[:] = sorted(name for name in directories if name not in _SKIPPED)
        links = [name for name in directories if (Path(root) / name).is_symlink()]
        for name in sorted([*directories, *files]):
            path = Path(root) / name
            yield path.relative_to(source).as_posix(), path
        directories[:] = [name for name in directories if name not in links]


def _add(tar: tarfile.TarFile, relative: str, path: Path, source: Path) -> None:
    entry = tarfile.TarInfo(relative)
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        destination = str(path.readlink())
        if destination.startswith("/") or not path.resolve().is_relative_to(source.resolve()):
            raise PackageError(f"{relative} is a link that leads out of it")
        entry.type, entry.linkname = tarfile.SYMTYPE, destination
        tar.addfile(entry)
    elif stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif stat.S_ISREG(status.st_mode):
        entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o111 else 0o644
        with path.open("rb") as file:
            tar.addfile(entry, file)
    else:
        raise PackageError(f"{relative} is no ordinary file")
