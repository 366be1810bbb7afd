"""Template versions kept unpacked and initialised under the cache directory, by the SHA-256 of their archive.

Jobs `use` them; several provisioners may share the directory. Invariants: a version is complete or not there
(made aside, then renamed; `initialized` is written last); whoever uses one holds a shared lock on it, whoever
changes or removes it holds an exclusive one.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from devyard.provisioner.templates.archive import ArchiveError, unpack_archive
from devyard.provisioner.templates.hcl import Block
from devyard.provisioner.templates.needs import has_backend, needs_init
from devyard.provisioner.templates.variables import list_variables, read_configuration
from devyard.wire.provisionerlink import Archive
from devyard.wire.provisionerresults import TemplateVariableResult

log = structlog.get_logger()

MAX_ARCHIVE_BYTES = 100 << 20
MAX_README_BYTES = 256 << 10
_LOCK_POLL_S = 0.05
_BACKEND_OVERRIDE = "devyard_override.tf"

Fetch = Callable[[Archive, Path], Awaitable[None]]
Init = Callable[[Path], Awaitable[None]]


class Template(msgspec.Struct, frozen=True):
    """A version that is ready to be planned.

    `lane_key` names the third-party providers it uses; `data` is its `.terraform`, None where it needs none.
    """

    files: Path
    data: Path | None
    lane_key: str
    variables: tuple[TemplateVariableResult, ...]

    def read_readme(self) -> str:
        """The text of its README, cut at the limit; empty without one."""
        for path in sorted(self.files.iterdir()):
            if path.name.lower() in ("readme.md", "readme") and path.is_file():
                with path.open("rb") as file:
                    return file.read(MAX_README_BYTES).decode("utf-8", "replace")
        return ""


class TemplateCache:
    """The versions under `directory`. `max_bytes` and `max_versions` bound what stays there."""

    def __init__(self, directory: Path, max_bytes: int = 8 << 30, max_versions: int = 200) -> None:
        self._directory = directory / "templates"
        self._max_bytes = max_bytes
        self._max_versions = max_versions
        self._known: dict[str, Template] = {}

    @asynccontextmanager
    async def use(self, archive: Archive, fetch: Fetch, init: Init) -> AsyncIterator[Template]:
        """The version, made ready if need be: `fetch` downloads it, `init` runs Terraform's in a directory.

        Raises ArchiveError, and what `fetch` and `init` raise.
        """
        place = self._directory / _check_digest(archive.sha256)
        await asyncio.to_thread(self._directory.mkdir, 0o700, parents=True, exist_ok=True)
        descriptor = await asyncio.to_thread(
            os.open, f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            await _lock(descriptor, fcntl.LOCK_SH)
            if not (place / "initialized").exists():
                await _lock(descriptor, fcntl.LOCK_EX)
                await self._make(archive, place, fetch, init)
                await _lock(descriptor, fcntl.LOCK_SH)
            template = self._known.get(archive.sha256)
            if template is None:
                template = await asyncio.to_thread(_read_template, place)
                self._known[archive.sha256] = template
            os.utime(place)
            yield template
        finally:
            os.close(descriptor)

    async def _make(self, archive: Archive, place: Path, fetch: Fetch, init: Init) -> None:
        if (place / "initialized").exists():
            return
        self._known.pop(archive.sha256, None)
        if not await asyncio.to_thread(place.exists):
            await self._unpack(archive, place, fetch)
        files = place / "files"
        blocks, documents = await asyncio.to_thread(read_configuration, files)
        if has_backend(blocks):
            override = 'terraform {\n  backend "local" {}\n}\n'
            await asyncio.to_thread((files / _BACKEND_OVERRIDE).write_text, override)
        if needs_init(blocks, documents):
            await init(files)
        (place / "initialized").touch()
        await asyncio.to_thread(self._remove_oldest, keep=archive.sha256)

    async def _unpack(self, archive: Archive, place: Path, fetch: Fetch) -> None:
        if archive.size_bytes > MAX_ARCHIVE_BYTES:
            raise ArchiveError(
                f"The template's archive has {archive.size_bytes >> 20} MiB; "
                f"{MAX_ARCHIVE_BYTES >> 20} are allowed."
            )
        download = place.with_suffix(".tar")
        aside = place.with_suffix(".new")
        try:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
            await fetch(archive, download)
            await asyncio.to_thread(_check_and_unpack, archive, download, aside)
            aside.rename(place)
        finally:
            download.unlink(missing_ok=True)
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)

    def _remove_oldest(self, keep: str) -> None:
        places = sorted(
            (path for path in self._directory.iterdir() if path.is_dir() and not path.suffix),
            key=lambda path: path.stat().st_mtime,
        )
        sizes = {path: _size_bytes(path) for path in places}
        while places and (sum(sizes.values()) > self._max_bytes or len(sizes) > self._max_versions):
            place = places.pop(0)
            if place.name != keep and _remove_unused(place):
                del sizes[place]
                self._known.pop(place.name, None)
                log.info("template_removed", sha256=place.name)


async def _lock(descriptor: int, kind: int) -> None:
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL_S)


def _check_and_unpack(archive: Archive, download: Path, target: Path) -> None:
    with download.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        raise ArchiveError("The template's archive arrived damaged: its SHA-256 is another. Try again.")
    files = target / "files"
    files.mkdir(parents=True)
    unpack_archive(download, files)


def _read_template(place: Path) -> Template:
    files = place / "files"
    configuration: tuple[list[Block], list[dict[str, Any]]] = read_configuration(files)
    data = files / ".terraform"
    lock = files / ".terraform.lock.hcl"
    is_initialized = data.is_dir()
    return Template(
        files=files,
        data=data if is_initialized else None,
        lane_key=hashlib.sha256(lock.read_bytes()).hexdigest() if is_initialized and lock.is_file() else "",
        variables=list_variables(*configuration),
    )


def _size_bytes(directory: Path) -> int:
    total = 0
    for root, _, names in os.walk(directory):
        total += sum(os.lstat(os.path.join(root, name)).st_size for name in names)  # noqa: PTH118  # hot loop
    return total


def _remove_unused(place: Path) -> bool:
    """Removes a version that nobody uses now."""
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


def _check_digest(sha256: str) -> str:
    """It becomes a file name."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ArchiveError("The server sent no SHA-256 with the template's archive.")
    return sha256
