"""Template directories as tar archives, and back.

Called by templates push and pull. Packing is deterministic (sorted names, no times, owners or umask), so that
the same directory is the same file on the server. Invariants: what Terraform makes (`.terraform`, state) and what
`.terraformignore` names stays out, nothing is read or written outside the directory, and size is bounded.
"""

import io
import os
import tarfile
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from devyard.cli.failures import CommandFailed
from devyard.cli.templates.ignorefile import IgnoreRules

MAX_BYTES = 64 << 20
MAX_FILES = 20_000
IGNORE_FILE = ".terraformignore"


def pack_directory(directory: Path, leaves_out: Container[str] = ()) -> bytes:
    """The archive, without the files named in `leaves_out`. Raises CommandFailed."""
    if not directory.is_dir():
        raise CommandFailed(f"{directory} is no directory.")
    rules = IgnoreRules.read(directory / IGNORE_FILE)
    root = directory.resolve()
    buffer = io.BytesIO()
    count = total = 0
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _list_files(root, rules):
            if path.name in leaves_out:
                continue
            data = _read(path, root, MAX_BYTES - total)
            count, total = count + 1, total + len(data)
            if count > MAX_FILES:
                raise CommandFailed(
                    f"{directory} has more than {MAX_FILES} files. Name what to leave out in {IGNORE_FILE}."
                )
            _add(tar, path.relative_to(root).as_posix(), data, is_executable=os.access(path, os.X_OK))
    if not any(name.endswith((".tf", ".tf.json")) for name in _top_names(root)):
        raise CommandFailed(
            f"{directory} has no .tf file. A template is a directory of Terraform; "
            "`devyard templates init` makes one."
        )
    return buffer.getvalue()


def read_archive(stream: IO[bytes]) -> tuple[bytes, str]:
    """An archive that is made already, as from stdin, and its content type. Raises CommandFailed."""
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CommandFailed(f"The archive is larger than {MAX_BYTES >> 20} MiB.")
    if data.startswith(b"PK\x03\x04"):
        return data, "application/zip"
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data)
    if data[257:262] != b"ustar":
        raise CommandFailed(
            "What comes from stdin is no tar or zip archive. As in: tar c . | devyard templates push …"
        )
    return data, "application/x-tar"


def _gunzip(data: bytes) -> bytes:
    import zlib

    reader = zlib.decompressobj(wbits=31)
    try:
        plain = reader.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise CommandFailed(f"The archive from stdin can't be unpacked: {error}.") from None
    if not reader.eof:
        raise CommandFailed(f"The archive from stdin is cut off, or unpacks to more than {MAX_BYTES >> 20} MiB.")
    return plain


def unpack_archive(data: bytes, directory: Path, *, overwrites: bool) -> list[str]:
    """Writes an archive's files below a directory; their names. Raises CommandFailed before the first."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
            return _unpack(tar, directory, overwrites=overwrites)
    except tarfile.TarError as error:
        raise CommandFailed(f"The archive can't be read: {error}.") from None


def _list_files(root: Path, rules: IgnoreRules) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        relative = PurePosixPath(here.relative_to(root).as_posix())
        folders[:] = sorted(
            name for name in folders if not rules.ignores((relative / name).as_posix(), is_directory=True)
        )
        for name in sorted(names):
            if not rules.ignores((relative / name).as_posix(), is_directory=False):
                yield here / name


def _read(path: Path, root: Path, budget: int) -> bytes:
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(root):
            raise CommandFailed(f"{path} leads out of the template ({target}). Copy the file into it.")
        if not target.is_file():
            raise CommandFailed(f"{path} is no regular file. Take it out, or name it in {IGNORE_FILE}.")
        if target.stat().st_size > budget:
            raise CommandFailed(
                f"The template is larger than {MAX_BYTES >> 20} MiB at {path}. "
                f"Name what to leave out in {IGNORE_FILE}."
            )
        return target.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{path} can't be read: {error.strerror}.") from None


def _add(tar: tarfile.TarFile, name: str, data: bytes, *, is_executable: bool) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o755 if is_executable else 0o644
    tar.addfile(member, io.BytesIO(data))


def _top_names(root: Path) -> list[str]:
    return [path.name for path in root.iterdir()]


def _unpack(tar: tarfile.TarFile, directory: Path, *, overwrites: bool) -> list[str]:
    files: list[tuple[Path, tarfile.TarInfo]] = []
    total = 0
    root = directory.resolve()
    for member in tar:
        if member.isdir():
            continue
        path = (root / member.name).resolve()
        if not member.isfile() or not path.is_relative_to(root) or path == root:
            raise CommandFailed(f"The archive has an entry that is no plain file inside it: {member.name!r}.")
        total += member.size
        if total > MAX_BYTES or len(files) > MAX_FILES:
            raise CommandFailed("The archive is larger than a template may be.")
        files.append((path, member))
    clash = next((path for path, _ in files if path.exists()), None)
    if clash is not None and not overwrites:
        raise CommandFailed(f"{clash} is there already. Choose an empty directory, or overwrite with --yes.")
    for path, member in files:
        source = tar.extractfile(member)
        assert source is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read())
        path.chmod(0o755 if member.mode & 0o100 else 0o644)
    return [member.name for _, member in files]
