"""Zip archives at the edge: what comes as a zip is kept as a tar, which is what provisioners unpack, and a tar is
given back as a zip where that is asked for.

Called by api.py, in threads. Invariants: the bounds are those of rules.py, held against what is really read rather
than against what the archive says of itself; a zip's links become a tar's, which rules.py looks at.
"""

import calendar
import io
import stat
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from devyard.server.files import rules

ZIP = "application/zip"
COPY_BYTES = 256 * 1024
MEMORY_BYTES = 1 << 20
"""A zip made for a download lies in a temporary file above this size."""

_ENTRY_MARK = b"PK\x01\x02"
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1
_FIRST_YEAR = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError)


def convert_to_tar(data: bytes) -> bytes:
    """The same files as a tar; the same zip gives the same bytes.

    Raises:
        Invalid: no zip, too large, encrypted, or it reaches outside itself. Its links are checked as a tar's.
    """
    # Before anything is parsed: the directory of a hostile zip could hold millions of entries.
    if data.count(_ENTRY_MARK) > rules.MAX_MEMBERS:
        raise rules.refuse(f"It has more than {rules.MAX_MEMBERS} members.")
    target = io.BytesIO()
    try:
        with (
            zipfile.ZipFile(io.BytesIO(data)) as source,
            tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            _copy_entries(source, archive, target)
    except _UNREADABLE as error:
        raise rules.refuse(f"It can't be read as a zip: {error}") from None
    return target.getvalue()


def convert_to_zip(data: bytes) -> IO[bytes]:
    """A tar that was taken before, as a zip, at its start; links to files become copies of them.

    Raises:
        Invalid: with its links followed it is over the bounds.
    """
    target = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 (the caller closes it)
    try:
        with (
            tarfile.open(fileobj=io.BytesIO(data), mode="r:") as source,
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            _copy_members(source, archive)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


def _copy_entries(source: zipfile.ZipFile, archive: tarfile.TarFile, target: io.BytesIO) -> None:
    total, seen = 0, set[str]()
    for entry in source.infolist():
        path = rules.check_path(entry.filename.rstrip("/") if entry.is_dir() else entry.filename)
        _check_entry(entry)
        if path in seen:
            raise rules.refuse(f'"{entry.filename}" is in it twice.')
        seen.add(path)
        member = tarfile.TarInfo(path)
        member.mtime = _read_mtime(entry)
        if entry.is_dir():
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
            continue
        if _kind(entry) == stat.S_IFLNK:
            member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, _read_target(source, entry)
            archive.addfile(member)
            continue
        content = b"".join(_read_bounded(source, entry, rules.MAX_UNPACKED_BYTES - total))
        total += len(content)
        member.size, member.mode = len(content), 0o755 if (entry.external_attr >> 16) & 0o111 else 0o644
        if target.tell() + len(content) > rules.MAX_UPLOAD_BYTES:
            raise rules.refuse(f"As a tar it would have more than {rules.MAX_UPLOAD_BYTES >> 20} MiB.")
        archive.addfile(member, io.BytesIO(content))


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if _kind(entry) not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise rules.refuse(f'"{entry.filename}" is neither a file, a directory nor a link.')
    if entry.flag_bits & _ENCRYPTED:
        raise rules.refuse(f'"{entry.filename}" is encrypted.')
    if entry.compress_type not in _METHODS:
        raise rules.refuse(f'"{entry.filename}" is packed by a method other than deflate.')


def _kind(entry: zipfile.ZipInfo) -> int:
    """The file type of Unix; 0 where the zip does not say."""
    return stat.S_IFMT(entry.external_attr >> 16)


def _read_target(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    """Where a link points: it is the entry's content."""
    with source.open(entry) as file:
        target = file.read(rules.MAX_PATH_CHARS + 1)
    if len(target) > rules.MAX_PATH_CHARS:
        raise rules.refuse(f'The link "{entry.filename}" has a target that can\'t be used.')
    return target.decode("utf-8")


def _read_bounded(source: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> Iterator[bytes]:
    left = min(left, rules.MAX_UPLOAD_BYTES)
    with source.open(entry) as file:
        while part := file.read(COPY_BYTES):
            left -= len(part)
            if left < 0:
                raise rules.refuse(f"It unpacks to more than {rules.MAX_UPLOAD_BYTES >> 20} MiB.")
            yield part


def _read_mtime(entry: zipfile.ZipInfo) -> int:
    try:
        return max(calendar.timegm((*entry.date_time, 0, 0, 0)), 0)
    except (ValueError, OverflowError):
        return 0


def _copy_members(source: tarfile.TarFile, archive: zipfile.ZipFile) -> None:
    total = 0
    for member in source.getmembers():
        name = member.name.removeprefix("./")
        if name in ("", "."):
            continue
        entry = zipfile.ZipInfo(name + "/" * member.isdir(), _read_date(member))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = ((stat.S_IFDIR if member.isdir() else stat.S_IFREG) | (member.mode & 0o777)) << 16
        if member.isdir():
            archive.writestr(entry, b"")
            continue
        content = _open_member(source, member)
        if content is None:
            continue
        with archive.open(entry, "w") as file:
            while part := content.read(COPY_BYTES):
                total += len(part)
                if total > rules.MAX_UNPACKED_BYTES:
                    raise rules.refuse(f"It unpacks to more than {rules.MAX_UNPACKED_BYTES >> 20} MiB.")
                file.write(part)


def _open_member(source: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    """The content of a file or of the file that a link leads to; None for a link that leads to no file."""
    try:
        return source.extractfile(member)
    except (KeyError, RecursionError):
        return None


def _read_date(member: tarfile.TarInfo) -> tuple[int, int, int, int, int, int]:
    try:
        date = time.gmtime(member.mtime)
    except (OverflowError, ValueError, OSError):
        return _FIRST_YEAR
    return max((date.tm_year, *date[1:6]), _FIRST_YEAR) if date.tm_year < 2108 else _FIRST_YEAR
