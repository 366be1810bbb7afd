"""What an uploaded tar may contain. Pure: bytes in, a refusal or nothing out; runs in a thread.

An archive is unpacked on provisioners, so nothing in it may leave the directory it is unpacked into: no absolute
path, no `..`, no link that points outside or is written through, no device. Size and count are bounded.
"""

import io
import posixpath
import tarfile

from devyard.wire.errors import Invalid, ValidationError

MAX_UPLOAD_BYTES = 100 << 20
MAX_UNPACKED_BYTES = 256 << 20
MAX_MEMBERS = 10_000
MAX_PATH_CHARS = 1024


def check_tar(data: bytes) -> None:
    """Refuse an archive that is no tar, is too large, or reaches outside itself.

    Raises:
        Invalid: names the member and why.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            _check_members(archive)
    except (tarfile.TarError, ValueError, OverflowError, UnicodeError, EOFError, KeyError) as error:
        raise refuse(f"It can't be read as a tar: {error}") from None


def _check_members(archive: tarfile.TarFile) -> None:
    total, links = 0, set[str]()
    for count, member in enumerate(archive, start=1):
        if count > MAX_MEMBERS:
            raise refuse(f"It has more than {MAX_MEMBERS} members.")
        path = check_path(member.name)
        _check_kind(member, path)
        for parent in _parents(path):
            if parent in links:
                raise refuse(f'"{member.name}" would be written through the link "{parent}".')
        if member.issym():
            links.add(path)
        total += member.size if member.isreg() else 0
        if total > MAX_UNPACKED_BYTES:
            raise refuse(f"It unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB.")


def check_path(name: str) -> str:
    """The member's normal path.

    Raises:
        Invalid: it lies outside the archive, or no file system could hold it.
    """
    if not name or len(name) > MAX_PATH_CHARS or "\0" in name or "\\" in name:
        raise refuse(f"A member has a path that can't be used: {name[:80]!r}.")
    if name.startswith("/") or ".." in name.split("/"):
        raise refuse(f'"{name}" lies outside the archive.')
    return posixpath.normpath(name)


def _check_kind(member: tarfile.TarInfo, path: str) -> None:
    if member.isdir() or member.isreg():
        return
    if member.issym():
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
    elif member.islnk():
        target = posixpath.normpath(member.linkname)
    else:
        raise refuse(f'"{member.name}" is neither a file, a directory nor a link.')
    if member.linkname.startswith("/") or target == ".." or target.startswith("../"):
        raise refuse(f'The link "{member.name}" points outside the archive.')


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def refuse(detail: str) -> Invalid:
    """The error for an archive that is not taken."""
    return Invalid("The archive was refused.", detail=detail, validations=[ValidationError("file", detail)])
