"""Packages come in and are kept with a version. Called by the provisioners' link and by the end of an import.

Invariants: content counts only once its SHA-256 was found to be right and the lease of the job that brought it
still held; what a version names can't be removed.
"""

import hashlib
from uuid import UUID, uuid4

import asyncpg

from devyard.server.db.pool import Connection, transaction
from devyard.server.jobs import lease_queries
from devyard.server.packages import queries
from devyard.server.services import Services
from devyard.wire.errors import Invalid
from devyard.wire.provisionerlink import CHUNK_BYTES, ImportDone
from devyard.wire.provisionerpackages import Package, PackageChunk

MAX_PACKAGES = 100
MAX_LOCK_FILE_BYTES = 1 << 20
MAX_NAME_CHARS = 300


class Upload:
    """One package on its way in, under the lease of an import."""

    def __init__(self, services: Services, job_id: UUID, lease_id: UUID, package: Package) -> None:
        self.package = package
        self._services = services
        self._job_id = job_id
        self._lease_id = lease_id
        self._id = uuid4()
        self._digest = hashlib.sha256()
        self._offset = 0
        self._parts = 0

    async def begin(self) -> None:
        """Make room for it."""
        await queries.insert_upload(self._services.pool, self._id, self.package.sha256, self.package.size_bytes)

    async def take(self, chunk: PackageChunk) -> bool:
        """Keep the next part; True once the package is complete.

        Raises:
            Invalid: it is not what was announced, or the lease is gone; the upload has to be given up.
        """
        self._check(chunk)
        self._digest.update(chunk.data)
        await queries.insert_part(self._services.pool, self._id, self._parts, chunk.data)
        self._offset += len(chunk.data)
        self._parts += 1
        if chunk.last:
            await self._complete()
        return chunk.last

    async def give_up(self) -> None:
        """Remove what has come so far."""
        await queries.delete_upload(self._services.pool, self._id)

    def _check(self, chunk: PackageChunk) -> None:
        if chunk.sha256 != self.package.sha256 or chunk.offset != self._offset:
            raise Invalid("Parts of the package came out of order.")
        if len(chunk.data) > CHUNK_BYTES or (len(chunk.data) < CHUNK_BYTES and not chunk.last):
            raise Invalid("A part of the package has a wrong size.")
        end = self._offset + len(chunk.data)
        if end > self.package.size_bytes or (chunk.last and end != self.package.size_bytes):
            raise Invalid("The package has another size than was announced.")

    async def _complete(self) -> None:
        if self._digest.hexdigest() != self.package.sha256:
            raise Invalid("The package arrived damaged: its SHA-256 is another.")
        try:
            async with transaction(self._services.pool) as connection:
                if await lease_queries.lock_leased(connection, self._job_id, self._lease_id) is None:
                    raise Invalid("The lease of the job has ended.")
                is_new = await queries.complete_upload(connection, self._id)
        except asyncpg.UniqueViolationError:
            is_new = False
        if not is_new:
            await self.give_up()


def check_package(package: Package, max_bytes: int) -> None:
    """Raises Invalid for one that can't be kept."""
    if len(package.sha256) != 64 or not set(package.sha256) <= set("0123456789abcdef"):
        raise Invalid("A package is named by its SHA-256.")
    texts = (package.name, package.version, package.platform)
    if any(len(text) > MAX_NAME_CHARS or not text.isprintable() for text in texts):
        raise Invalid("The package's name can't be kept.")
    if not 0 < package.size_bytes <= max_bytes:
        raise Invalid(f"It has {package.size_bytes >> 20} MiB; {max_bytes >> 20} are allowed.")


async def keep_with_version(connection: Connection, version_id: UUID, result: ImportDone) -> None:
    """Keep what a version was packed with. Part of the transaction that ends its import.

    Raises:
        Invalid: a package is not there, or there are far too many; the job has to fail.
    """
    if len(result.packages) > MAX_PACKAGES:
        raise Invalid(f"The template needs more than {MAX_PACKAGES} packages.")
    if len(result.lock_file) > MAX_LOCK_FILE_BYTES:
        raise Invalid(f"The template's lock file has more than {MAX_LOCK_FILE_BYTES >> 20} MiB.")
    if result.lock_file:
        await queries.update_lock_file(connection, version_id, result.lock_file)
    if not result.packages:
        return
    found = await queries.touch_packages(connection, [package.sha256 for package in result.packages])
    ids = {row.sha256: row.id for row in found}
    missing = [package.name or package.kind for package in result.packages if package.sha256 not in ids]
    if missing:
        raise Invalid(f"The import's package of {missing[0]} is not there; import the template again.")
    references = [(ids[package.sha256], package) for package in result.packages]
    await queries.insert_references(connection, version_id, references)
