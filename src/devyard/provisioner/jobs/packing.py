"""What an import has fetched from outside, packed and brought to the server, so that no build has to fetch it.

Called by importing.py after its plans. Invariant: what can't be packed does not fail the import; its warnings say
that builds will need the network for it.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.workplace import JobLink, Tools
from devyard.provisioner.templates.archive import ArchiveError
from devyard.provisioner.templates.cache import Template
from devyard.provisioner.templates.packages import PackageStore
from devyard.provisioner.templates.packing import (
    PackageError,
    PackageTooLarge,
    fingerprint_directory,
    pack_directory,
)
from devyard.provisioner.templates.restoring import LOCK_FILE, MODULES, Packs
from devyard.wire.provisionerlink import Job
from devyard.wire.provisionerpackages import Package

log = structlog.get_logger()

MAX_LOCK_FILE_BYTES = 1 << 20
_LOCAL = ("./", "../", ".\\", "..\\")


class Found(msgspec.Struct, frozen=True):
    """A directory that has to be packed, and what it is."""

    directory: Path
    package: Package


class Packed(msgspec.Struct, frozen=True):
    """What the version is packed with, and what is not."""

    packages: tuple[Package, ...] = ()
    lock_file: bytes = b""
    warnings: tuple[str, ...] = ()


async def pack_version(tools: Tools, job: Job, template: Template, link: JobLink, log_: JobLog) -> Packed:
    """Packs and uploads; nothing where the template uses only what is its own or ours. Raises OSError."""
    found = await asyncio.to_thread(_list_found, template)
    if not found:
        return Packed()
    log_.begin("Packing", "Keeping modules and providers with the version, so that builds need no network.")
    lock_file = await asyncio.to_thread(_read_lock_file, template)
    packer = _Packer(tools, job, link, log_)
    for entry in found:
        await packer.pack(entry)
    packed = Packed(tuple(packer.sources), lock_file, tuple(packer.warnings))
    await _keep_here(tools, job, template, packed, packer, link)
    return packed


class _Packer:
    def __init__(self, tools: Tools, job: Job, link: JobLink, log_: JobLog) -> None:
        self.sources: dict[Package, Path] = {}
        self.warnings: list[str] = []
        self._tools = tools
        self._job = job
        self._link = link
        self._log = log_
        self._left_bytes = job.terraform.max_version_bytes

    async def pack(self, entry: Found) -> None:
        """One package; a warning where it can't be."""
        limit = min(self._left_bytes, self._job.terraform.max_package_bytes)
        store = self._tools.templates.packages.directory
        await asyncio.to_thread(store.mkdir, 0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="pack-", suffix=".new", dir=store) as directory:
            packing = _Packing(self._tools.templates.packages, entry.directory, Path(directory) / "package", limit)
            try:
                sha256, size = await packing.describe()
            except PackageTooLarge:
                self._warn(entry, f"it is larger than the {limit >> 20} MiB that may be kept")
                return
            except PackageError as why:
                self._warn(entry, str(why))
                return
            package = msgspec.structs.replace(entry.package, sha256=sha256, size_bytes=size)
            error = await self._link.offer_package(package, packing.make)
        if error:
            self._warn(entry, error.rstrip("."))
            return
        self._left_bytes -= size
        self.sources[package] = entry.directory
        self._log.say(f"Packed {_name(package)}: {size / (1 << 20):.1f} MiB.", "debug")

    def _warn(self, entry: Found, why: str) -> None:
        text = f"{_name(entry.package)} is not kept with the version: {why}. Builds will need the network for it."
        self._log.say(text, "warn")
        self.warnings.append(text)


class _Packing:
    """A package that is made only if it has to be: the same content has the same name as last time."""

    def __init__(self, store: PackageStore, directory: Path, file: Path, limit: int) -> None:
        self._store = store
        self._directory = directory
        self._file = file
        self._limit = limit

    async def describe(self) -> tuple[str, int]:
        """SHA-256 and size. Raises PackageTooLarge, PackageError, OSError."""
        return await asyncio.to_thread(self._describe)

    async def make(self) -> Path:
        """The file."""
        if not self._file.exists():
            await asyncio.to_thread(pack_directory, self._directory, self._file, self._limit)
        return self._file

    def _describe(self) -> tuple[str, int]:
        fingerprint = fingerprint_directory(self._directory)
        known = self._store.recall(fingerprint)
        if known is None:
            known = pack_directory(self._directory, self._file, self._limit)
            self._store.remember(fingerprint, *known)
        elif known[1] > self._limit:
            raise PackageTooLarge
        return known


async def _keep_here(
    tools: Tools, job: Job, template: Template, packed: Packed, packer: _Packer, link: JobLink
) -> None:
    """Builds on this machine begin at once; where it fails they download like all others."""
    platform = tools.terraform.platform
    packs = Packs(packed.packages, packed.lock_file, platform, link.fetch_package, lambda _: None)
    sources = {package.sha256: path for package, path in packer.sources.items()}
    try:
        await tools.templates.keep_packed(template, job.archive, packs, sources)
    except (OSError, ArchiveError) as error:
        log.warning("version_not_kept", why=str(error))


def _list_found(template: Template) -> list[Found]:
    if template.data is None:
        return []
    found = list(_list_providers(template.data / "providers"))
    modules = template.data / MODULES
    if modules.is_file() and (found or _has_external(modules)):
        found.insert(0, Found(modules.parent, Package(kind="modules", sha256="", size_bytes=0)))
    return found


def _list_providers(root: Path) -> Iterator[Found]:
    """HOST/NAMESPACE/TYPE/VERSION/PLATFORM; the last one is a link where a mirror's directory is used in place."""
    for path in sorted(root.glob("*/*/*/*/*")):
        if path.is_dir():
            *name, version, platform = path.relative_to(root).parts
            package = Package(
                kind="provider",
                sha256="",
                size_bytes=0,
                name="/".join(name),
                version=version,
                platform=platform,
            )
            yield Found(path.resolve(), package)


def _has_external(modules: Path) -> bool:
    with contextlib.suppress(OSError, msgspec.MsgspecError, AttributeError, TypeError):
        entries = msgspec.json.decode(modules.read_bytes()).get("Modules", [])
        return any(entry["Source"] and not entry["Source"].startswith(_LOCAL) for entry in entries)
    return True


def _read_lock_file(template: Template) -> bytes:
    path = template.files / LOCK_FILE
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        data = file.read(MAX_LOCK_FILE_BYTES + 1)
    return data if len(data) <= MAX_LOCK_FILE_BYTES else b""


def _name(package: Package) -> str:
    return f"{package.name} {package.version}" if package.kind == "provider" else "The external modules"
