"""Packages kept unpacked under the cache directory, by SHA-256, and put into versions by hard links.

Used by the template cache; several provisioners may share the directory. Invariants: a package is complete or not
there (made aside, then renamed); whoever makes, links or removes one holds the exclusive lock of its name. A
version's links keep the content alive, so a package may be removed at any time.
"""

import asyncio
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from devyard.provisioner.templates.archive import ArchiveError
from devyard.provisioner.templates.packing import check_package, unpack_package
from devyard.wire.provisionerpackages import Package

FetchPackage = Callable[[Package, Path], Awaitable[None]]

MAX_KNOWN = 1000
_LOCK_POLL_S = 0.05
_PART = re.compile(r"[\w-][\w.:+-]{0,199}")


class PackageStore:
    """The packages under `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def put(self, package: Package, target: Path, fetch: FetchPackage) -> None:
        """Makes the package's content appear as `target`, downloaded by `fetch` where it is not here yet.

        Raises ArchiveError, OSError, and what `fetch` raises; then nothing is left of the download.
        """
        async with self._locked(package.sha256) as place:
            if not await asyncio.to_thread(place.is_dir):
                await self._download(package, place, fetch)
            await asyncio.to_thread(_touch_and_link, place, target)

    async def adopt(self, sha256: str, source: Path) -> None:
        """Keeps a directory that was packed here, so that it need not be downloaded. Raises OSError."""
        async with self._locked(sha256) as place:
            if not await asyncio.to_thread(place.is_dir):
                await asyncio.to_thread(_copy_in, source, place)

    def recall(self, fingerprint: str) -> tuple[str, int] | None:
        """SHA-256 and size of the package that a directory with this fingerprint gave here. Blocks."""
        try:
            sha256, size = (self.directory / "known.d" / fingerprint).read_text().split()
            return sha256, int(size)
        except (OSError, ValueError):
            return None

    def remember(self, fingerprint: str, sha256: str, size: int) -> None:
        """Keeps what packing has found, for the next import of the same content; the newest MAX_KNOWN. Blocks."""
        known = self.directory / "known.d"
        known.mkdir(mode=0o700, parents=True, exist_ok=True)
        (known / fingerprint).write_text(f"{sha256} {size}")
        files = sorted(known.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-MAX_KNOWN]:
            path.unlink(missing_ok=True)

    async def _download(self, package: Package, place: Path, fetch: FetchPackage) -> None:
        download = place.with_suffix(".part")
        aside = place.with_suffix(".new")
        try:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)
            await fetch(package, download)
            await asyncio.to_thread(check_package, download, package.sha256)
            await asyncio.to_thread(aside.mkdir)
            await asyncio.to_thread(unpack_package, download, aside)
            await asyncio.to_thread(aside.rename, place)
        finally:
            await asyncio.to_thread(_remove, download, aside)

    @asynccontextmanager
    async def _locked(self, sha256: str) -> AsyncIterator[Path]:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ArchiveError("The server sent no SHA-256 with a package of the template.")
        place = self.directory / sha256
        await asyncio.to_thread(self.directory.mkdir, 0o700, parents=True, exist_ok=True)
        descriptor = await asyncio.to_thread(
            os.open, f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            await wait_lock(descriptor, fcntl.LOCK_EX)
            yield place
        finally:
            os.close(descriptor)


async def wait_lock(descriptor: int, kind: int) -> None:
    """Returns once the lock is held."""
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL_S)


def place_in_data(package: Package) -> str:
    """Where Terraform looks for a package's content below `.terraform`. Raises ArchiveError."""
    if package.kind == "modules":
        return "modules"
    parts = package.name.split("/")
    if len(parts) != 3 or not all(map(_PART.fullmatch, (*parts, package.version, package.platform))):
        raise ArchiveError("The server named a package of the template in a way that can't be used.")
    return "/".join(("providers", *parts, package.version, package.platform))


def link_tree(source: Path, target: Path, skipped: tuple[str, ...] = ()) -> None:
    """Makes `target` a copy of `source` whose files are hard links where the file system can; links stay links.

    `skipped`: names on the first level that are left out.
    """
    shutil.copytree(
        source,
        target,
        symlinks=True,
        copy_function=_link_or_copy,
        ignore=lambda path, _: skipped if Path(path) == source else (),
    )


def _touch_and_link(place: Path, target: Path) -> None:
    os.utime(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    link_tree(place, target)


def _copy_in(source: Path, place: Path) -> None:
    aside = place.with_suffix(".new")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        aside.chmod(0o700)
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove(download: Path, aside: Path) -> None:
    download.unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
