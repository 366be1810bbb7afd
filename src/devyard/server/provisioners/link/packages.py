"""Packages over one provisioner's connection: uploads of an import, downloads for its job and its forms.

Used by connection.py. Invariants: one upload at a time, in order, each part in the database before the next is
read; a download goes on beside the connection's other messages, and only of what a job or form given to this
connection names.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import asyncpg
import structlog

from devyard.server.packages import queries
from devyard.server.packages.actions import Upload, check_package
from devyard.server.services import Services
from devyard.wire.errors import AppError
from devyard.wire.provisionerpackages import Package, PackageChunk, PackageOffer, PackageWanted

log = structlog.get_logger("provisioners")

MAX_WAITING = 128
MAX_REMEMBERED = 64

Send = Callable[[PackageWanted | PackageChunk], Awaitable[None]]


class PackageTransfers:
    """The packages of one connection; `send` sends one message and returns once it is on its way."""

    def __init__(self, services: Services, send: Send) -> None:
        self._services = services
        self._send = send
        self._upload: Upload | None = None
        self._offered: tuple[UUID, int] = (UUID(int=0), 0)
        self._allowed: OrderedDict[UUID, frozenset[str]] = OrderedDict()
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._sending: asyncio.Task[None] | None = None

    def allow(self, owner_id: UUID, packages: Iterable[Package]) -> None:
        """A job or form that names these packages was given to this connection."""
        self._allowed[owner_id] = frozenset(package.sha256 for package in packages)
        self._allowed.move_to_end(owner_id)
        while len(self._allowed) > MAX_REMEMBERED:
            self._allowed.popitem(last=False)

    async def take_offer(self, offer: PackageOffer) -> None:
        """An import under a lease that holds has a package."""
        await self._give_up_upload()
        package = offer.package
        settings = self._services.settings
        try:
            check_package(package, settings.max_package_bytes)
            await self._count(offer.job_id, package, settings.max_version_packages_bytes)
            if await queries.touch_packages(self._services.pool, [package.sha256]):
                await self._send(PackageWanted(package.sha256, False))
                return
            upload = Upload(self._services, offer.job_id, offer.lease_id, package)
            await upload.begin()
        except AppError as error:
            await self._send(PackageWanted(package.sha256, False, error.message))
            return
        self._upload = upload
        await self._send(PackageWanted(package.sha256, True))

    async def take_chunk(self, chunk: PackageChunk) -> None:
        """The next part of the upload; of none, it is dropped."""
        upload = self._upload
        if upload is None or chunk.sha256 != upload.package.sha256:
            return
        try:
            if not await upload.take(chunk):
                return
        except AppError as error:
            await self._give_up_upload()
            log.warning("a package was refused", name=upload.package.name, error=error.message)
            await self._send(PackageWanted(chunk.sha256, False, error.message))
            return
        self._upload = None
        log.info("a package was stored", name=upload.package.name, sha256=chunk.sha256)
        await self._send(PackageWanted(chunk.sha256, False))

    async def request(self, sha256: str) -> None:
        """Send a package, after those asked for before; of one that is not allowed only an empty end."""
        is_allowed = any(sha256 in digests for digests in self._allowed.values())
        if not is_allowed or self._waiting.full():
            await self._send(PackageChunk(sha256, 0, b"", True))
            return
        self._waiting.put_nowait(sha256)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="send packages")

    async def close(self) -> None:
        """The connection has ended."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self._give_up_upload()

    async def _count(self, job_id: UUID, package: Package, max_bytes: int) -> None:
        offered = self._offered[1] if self._offered[0] == job_id else 0
        check_package(package, max(0, max_bytes - offered))
        self._offered = (job_id, offered + package.size_bytes)

    async def _give_up_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            await upload.give_up()

    async def _send_all(self) -> None:
        while True:
            sha256 = await self._waiting.get()
            try:
                await self._send_package(sha256)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("a package can't be sent", sha256=sha256, error=str(error))
                await self._send(PackageChunk(sha256, 0, b"", True))

    async def _send_package(self, sha256: str) -> None:
        package = await queries.get_package(self._services.pool, sha256)
        offset = number = 0
        while package is not None and offset < package.size_bytes:
            data = await queries.get_part(self._services.pool, package.id, number)
            if not data:
                break
            is_last = offset + len(data) >= package.size_bytes
            await self._send(PackageChunk(sha256, offset, data, is_last))
            offset += len(data)
            number += 1
            if is_last:
                return
        await self._send(PackageChunk(sha256, offset, b"", True))
