"""What an uploaded tar may contain. Pure: bytes in, a refusal or nothing out; runs in a thread.

An archive is unpacked on provisioners, so nothing in it may leave the directory it is unpacked into: no absolute
path, no `..`, no link that leads outside (by itself or through others) or is written through, no device. Size,
count and depth are bounded. Modes don't matter: what is unpacked is owned and readable by one user alone.
"""

import io
import posixpath
import tarfile
from typing import Literal

from devyard.wire.errors import Invalid, ValidationError

MAX_UPLOAD_BYTES = 100 << 20
MAX_UNPACKED_BYTES = 256 << 20
MAX_MEMBERS = 10_000
MAX_LINKS = 1000
MAX_HOPS = 16
"""Links that one path may lead through."""
MAX_PATH_CHARS = 1024
MAX_DEPTH = 64
MAX_NAME_BYTES = 255

_UNREADABLE = (tarfile.TarError, ValueError, OverflowError, EOFError, KeyError, RecursionError)


def check_tar(data: bytes) -> None:
    """Refuse an archive that is no tar, is too large, or reaches outside itself.

    Raises:
        Invalid: names the member and why.
    """
    contents = _Contents()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for count, member in enumerate(archive, start=1):
                if count > MAX_MEMBERS:
                    raise refuse(f"It has more than {MAX_MEMBERS} members.")
                contents.add(member)
    except _UNREADABLE as error:
        raise refuse(f"It can't be read as a tar: {error}") from None
    contents.check_links()


def check_path(name: str) -> str:
    """The member's normal path.

    Raises:
        Invalid: it lies outside the archive, or no file system could hold it.
    """
    if not name or len(name) > MAX_PATH_CHARS or "\0" in name or "\\" in name:
        raise refuse(f"A member has a path that can't be used: {name[:80]!r}.")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise refuse(f'"{name}" lies outside the archive.')
    if any(len(part.encode("utf-8", "replace")) > MAX_NAME_BYTES for part in parts):
        raise refuse(f"A name in it is longer than {MAX_NAME_BYTES} bytes: {name[:80]!r}.")
    path = posixpath.normpath(name)
    if path.count("/") > MAX_DEPTH:
        raise refuse(f'"{name[:80]}" lies more than {MAX_DEPTH} directories deep.')
    return path


class _Contents:
    """What the members seen so far make of a directory."""

    def __init__(self) -> None:
        self._kinds: dict[str, Literal["directory", "file", "link"]] = {".": "directory"}
        self._sizes: dict[str, int] = {}
        self._links: dict[str, str] = {}
        self._total = 0

    def add(self, member: tarfile.TarInfo) -> None:
        path = check_path(member.name)
        self._add_parents(member.name, path)
        if member.isdir():
            self._set_kind(member.name, path, "directory")
        elif member.issym():
            self._set_kind(member.name, path, "link")
            self._links[path] = _check_target(member)
            if len(self._links) > MAX_LINKS:
                raise refuse(f"It has more than {MAX_LINKS} links.")
        elif member.isreg() or member.islnk():
            self._set_kind(member.name, path, "file")
            self._add_bytes(path, member.size if member.isreg() else self._linked_size(member))
        else:
            raise refuse(f'"{member.name}" is neither a file, a directory nor a link.')

    def check_links(self) -> None:
        """Follow each link to its end, through other links too."""
        for path in self._links:
            self._follow(path)

    def _add_parents(self, name: str, path: str) -> None:
        parts = path.split("/")
        for end in range(1, len(parts)):
            parent = "/".join(parts[:end])
            if self._kinds.setdefault(parent, "directory") == "link":
                raise refuse(f'"{name}" would be written through the link "{parent}".')
            if self._kinds[parent] == "file":
                raise refuse(f'"{parent}" is in it as a file, and as a directory that holds "{name}".')

    def _set_kind(self, name: str, path: str, kind: Literal["directory", "file", "link"]) -> None:
        """Of two files or directories with one path the last counts; of two links neither does."""
        before = self._kinds.get(path)
        if before is not None and (before != kind or kind == "link"):
            raise refuse(f'"{name}" is in it twice, as a {before} and as a {kind}.')
        self._kinds[path] = kind

    def _add_bytes(self, path: str, size: int) -> None:
        if size < 0:
            raise refuse(f'"{path}" has a size below zero.')
        self._sizes[path] = size
        self._total += size
        if self._total > MAX_UNPACKED_BYTES:
            raise refuse(f"It unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB.")

    def _linked_size(self, member: tarfile.TarInfo) -> int:
        """A hard link becomes a copy of a file that came before it."""
        target = check_path(member.linkname)
        if target not in self._sizes:
            raise refuse(f'The hard link "{member.name}" names "{target}", which is no file before it.')
        return self._sizes[target]

    def _follow(self, path: str) -> None:
        todo, done, hops = path.split("/"), list[str](), 0
        while todo:
            part = todo.pop(0)
            if part == ".." and not done:
                raise refuse(f'The link "{path}" points outside the archive.')
            if part == "..":
                done.pop()
            elif part not in ("", "."):
                done.append(part)
            target = self._links.get("/".join(done)) if part not in ("", ".", "..") else None
            if target is not None:
                hops += 1
                if hops > MAX_HOPS:
                    raise refuse(f'The link "{path}" leads through more than {MAX_HOPS} links, or in a circle.')
                done.pop()
                todo = target.split("/") + todo


def _check_target(member: tarfile.TarInfo) -> str:
    target = member.linkname
    if not target or len(target) > MAX_PATH_CHARS or target.count("/") > MAX_DEPTH or "\0" in target:
        raise refuse(f'The link "{member.name}" has a target that can\'t be used: {target[:80]!r}.')
    if target.startswith("/") or "\\" in target:
        raise refuse(f'The link "{member.name}" points outside the archive.')
    return target


def refuse(detail: str) -> Invalid:
    """The error for an archive that is not taken."""
    return Invalid("The archive was refused.", detail=detail, validations=[ValidationError("file", detail)])
