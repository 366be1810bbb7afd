"""Unpacks a template's archive, which anybody with the right to upload may have made.

Called once per template version. Invariant: nothing is written outside the target directory, nothing is read
beyond the limits, and what was unpacked are plain files, directories and links that stay inside.
"""

import os
import posixpath
import shutil
import tarfile
from pathlib import Path

import msgspec


class ArchiveError(Exception):
    """The archive was refused; the text says why and names the entry."""


class Limits(msgspec.Struct, frozen=True):
    """What an archive may hold."""

    total_bytes: int = 256 << 20
    entries: int = 20_000
    depth: int = 64


_DEFAULT_LIMITS = Limits()
_IGNORED = (".terraform", ".git", "terraform.tfstate", "terraform.tfstate.backup", ".terraform.tfstate.lock.info")
"""Left behind by Terraform runs on the author's machine: never part of a template."""


def unpack_archive(archive: Path, target: Path, limits: Limits = _DEFAULT_LIMITS) -> None:
    """Unpacks a tar (plain or compressed) into the empty directory `target`. Raises ArchiveError."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            _unpack(tar, target, limits)
    except (tarfile.TarError, EOFError, OSError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"The template's archive can't be unpacked: {error}") from error


def _unpack(tar: tarfile.TarFile, target: Path, limits: Limits) -> None:
    links: list[tuple[Path, str]] = []
    files: dict[str, int] = {}
    total = 0
    for count, entry in enumerate(tar, start=1):
        linked = _check_name(entry.linkname, limits) if entry.islnk() else ""
        total += files.get(linked, 0) if entry.islnk() else max(0, entry.size)
        if count > limits.entries:
            raise ArchiveError(f"The template's archive holds more than {limits.entries} entries.")
        if total > limits.total_bytes:
            raise ArchiveError(f"The template's archive holds more than {limits.total_bytes >> 20} MiB.")
        relative = _check_name(entry.name, limits)
        if not relative or relative.split("/", 1)[0] in _IGNORED:
            continue
        path = target / relative
        if entry.isdir():
            path.mkdir(parents=True, exist_ok=True)
        elif entry.isfile():
            _write_file(tar, entry, path)
            files[relative] = entry.size
        elif entry.islnk():
            _copy_file(entry, target / linked if linked in files else None, path)
            files[relative] = files[linked]
        elif entry.issym():
            links.append((path, _check_link(relative, entry)))
        else:
            raise ArchiveError(f'"{entry.name}" is neither a file, a directory nor a link; leave it out.')
    # Links come last, so that no file can be written through one.
    for path, destination in links:
        _check_inside(path.parent, target)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(destination)
    for path, _ in links:
        _check_inside(path, target)


def _check_name(name: str, limits: Limits) -> str:
    """The entry's path relative to the target, or empty for the target itself."""
    normal = posixpath.normpath(name.replace("\\", "/"))
    if normal == ".":
        return ""
    if name.startswith("/") or normal.startswith("../") or normal == ".." or "\0" in name:
        raise ArchiveError(f'"{name}" would lie outside the template; pack the directory with relative names.')
    if normal.count("/") > limits.depth:
        raise ArchiveError(f'"{name}" lies more than {limits.depth} directories deep.')
    return normal


def _check_link(relative: str, entry: tarfile.TarInfo) -> str:
    destination = posixpath.normpath(posixpath.join(posixpath.dirname(relative), entry.linkname))
    if entry.linkname.startswith("/") or destination == ".." or destination.startswith("../"):
        raise ArchiveError(f'The link "{entry.name}" points outside the template.')
    return entry.linkname


def _check_inside(path: Path, target: Path) -> None:
    """A link through another one may lead where neither name shows it."""
    if not path.resolve().is_relative_to(target.resolve()):
        raise ArchiveError(f'The link "{path.relative_to(target)}" points outside the template.')


def _copy_file(entry: tarfile.TarInfo, source: Path | None, path: Path) -> None:
    """A hard link becomes a file of its own. No symbolic link is on disk yet, so none can be followed."""
    if source is None:
        raise ArchiveError(f'The hard link "{entry.name}" names "{entry.linkname}", which is no file before it.')
    if source != path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        shutil.copy(source, path)


def _write_file(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(entry)
    if source is None:
        raise ArchiveError(f'"{entry.name}" can\'t be read.')
    mode = 0o755 if entry.mode & 0o111 else 0o644
    path.unlink(missing_ok=True)  # of two entries with one name the last counts
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with source, os.fdopen(descriptor, "wb") as file:
        while chunk := source.read(1 << 20):
            file.write(chunk)
