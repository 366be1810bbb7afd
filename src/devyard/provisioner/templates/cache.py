"""Template versions kept unpacked and initialised under the cache directory.

Named by the SHA-256 of their archive and of what they were packed with (restoring.py). Jobs `use` them; several
provisioners may share the directory. Invariants: a version is complete or not there (made aside, then renamed;
`initialized` is written last); whoever uses one holds a shared lock on it, whoever changes or removes it holds an
exclusive one.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from devyard.provisioner.templates.archive import ArchiveError, unpack_archive
from devyard.provisioner.templates.hcl import Block
from devyard.provisioner.templates.needs import has_backend, needs_init
from devyard.provisioner.templates.packages import PackageStore, link_tree, wait_lock
from devyard.provisioner.templates.restoring import DATA, LOCK_FILE, Packs, name_version, restore_version
from devyard.provisioner.templates.room import Room, explained_full_disk, remove_unused, sweep
from devyard.provisioner.templates.variables import list_variables, read_configuration
from devyard.wire.provisionerlink import Archive
from devyard.wire.provisionerresults import TemplateVariableResult

MAX_ARCHIVE_BYTES = 100 << 20
MAX_README_BYTES = 256 << 10
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
    """The versions under `directory`. `max_bytes` and `max_versions` bound what stays there, packages included."""

    def __init__(self, directory: Path, max_bytes: int = 8 << 30, max_versions: int = 200) -> None:
        self.packages = PackageStore(directory / "packages")
        self._directory = directory / "templates"
        self._room = Room(self._directory, self.packages.directory, max_bytes, max_versions)
        self._known: dict[str, tuple[int, Template]] = {}

    def sweep(self) -> None:
        """Removes what killed provisioners have left half made. Blocks."""
        sweep(self._directory, self.packages.directory)

    @asynccontextmanager
    async def use(
        self, archive: Archive, fetch: Fetch, init: Init, packs: Packs | None = None
    ) -> AsyncIterator[Template]:
        """The version, made ready if need be: `fetch` downloads it, `init` runs Terraform's in a directory.

        With `packs`, `init` runs only where they do not suffice. Raises ArchiveError, and what those raise.
        """
        name = name_version(archive, packs.packages, packs.lock_file) if packs else archive.sha256
        place = self._directory / _check_digest(name)
        async with self._opened(place) as descriptor:
            await wait_lock(descriptor, fcntl.LOCK_SH)
            if not (place / "initialized").exists():
                await wait_lock(descriptor, fcntl.LOCK_EX)
                with explained_full_disk(self._directory):
                    await self._make(archive, place, fetch, init, packs)
                await wait_lock(descriptor, fcntl.LOCK_SH)
            template = await self._read(place)
            os.utime(place)
            yield template

    async def keep_packed(
        self, template: Template, archive: Archive, packs: Packs, sources: Mapping[str, Path]
    ) -> None:
        """Keeps an imported version as builds will ask for it; `sources`: packages' directories by SHA-256.

        Raises OSError, ArchiveError; then builds download what is missing.
        """
        for sha256, source in sources.items():
            await self.packages.adopt(sha256, source)
        place = self._directory / name_version(archive, packs.packages, packs.lock_file)
        async with self._opened(place) as descriptor:
            await wait_lock(descriptor, fcntl.LOCK_EX)
            if (place / "initialized").exists():
                return
            await asyncio.to_thread(_link_files, template.files, place)
            blocks, _ = await asyncio.to_thread(read_configuration, place / "files")
            if await restore_version(place / "files", blocks, packs, self.packages):
                (place / "initialized").touch()

    async def forget(self, archive: Archive) -> None:
        """Removes what an import has left, so that the next import of the same files resolves everything anew."""
        await asyncio.to_thread(remove_unused, self._directory / _check_digest(archive.sha256))

    @asynccontextmanager
    async def _opened(self, place: Path) -> AsyncIterator[int]:
        await asyncio.to_thread(self._directory.mkdir, 0o700, parents=True, exist_ok=True)
        with explained_full_disk(self._directory):
            descriptor = await asyncio.to_thread(
                os.open, f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    async def _read(self, place: Path) -> Template:
        """What is known of it, unless it was made anew since."""
        made_at = (place / "initialized").stat().st_mtime_ns
        known = self._known.get(place.name)
        if known is None or known[0] != made_at:
            known = self._known[place.name] = (made_at, await asyncio.to_thread(_read_template, place))
        return known[1]

    async def _make(self, archive: Archive, place: Path, fetch: Fetch, init: Init, packs: Packs | None) -> None:
        if (place / "initialized").exists():
            return
        if not await asyncio.to_thread(place.exists):
            await self._unpack(archive, place, fetch)
        files = place / "files"
        blocks, documents = await asyncio.to_thread(read_configuration, files)
        if has_backend(blocks):
            override = 'terraform {\n  backend "local" {}\n}\n'
            await asyncio.to_thread((files / _BACKEND_OVERRIDE).write_text, override)
        if needs_init(blocks, documents) and not (
            packs and await restore_version(files, blocks, packs, self.packages)
        ):
            await init(files)
        (place / "initialized").touch()
        for name in await asyncio.to_thread(self._room.make, keep=place.name):
            self._known.pop(name, None)

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
    data = files / DATA
    lock = files / LOCK_FILE
    is_initialized = data.is_dir()
    return Template(
        files=files,
        data=data if is_initialized else None,
        lane_key=hashlib.sha256(lock.read_bytes()).hexdigest() if is_initialized and lock.is_file() else "",
        variables=list_variables(*configuration),
    )


def _link_files(files: Path, place: Path) -> None:
    """A version's own files, without what Terraform has added."""
    aside = place.with_suffix(".new")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        aside.mkdir()
        link_tree(files, aside / "files", skipped=(DATA, LOCK_FILE))
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _check_digest(sha256: str) -> str:
    """It becomes a file name."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise ArchiveError("The server sent no SHA-256 with the template's archive.")
    return sha256
