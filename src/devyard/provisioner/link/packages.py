"""Packages over the session's connection: uploads by an import, downloads for whoever needs one.

The session owns one and feeds it what comes in; jobs and forms call `offer` and `fetch`. Invariants: a part is
read from the disk only when the one before is on its way (the socket's own back-pressure); after a cut everything
begins anew; a package counts as uploaded only when the server has said so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import msgspec
from websockets.exceptions import ConnectionClosed

from devyard.provisioner.link.downloads import Incoming
from devyard.wire.provisionerlink import CHUNK_BYTES
from devyard.wire.provisionerpackages import Package, PackageChunk, PackageOffer, PackageRequest, PackageWanted

Prepare = Callable[[], Awaitable[Path]]
"""Makes the file of a package, when it turns out that it is needed."""

Send = Callable[[msgspec.Struct], Awaitable[None]]


class PackageLink:
    """Both directions. `connect` and `disconnect` say when there is a connection, `take` gets its messages."""

    def __init__(self) -> None:
        self._send: Send | None = None
        self._connected = asyncio.Event()
        self._answers: dict[str, asyncio.Future[PackageWanted]] = {}
        self._incoming: dict[str, Incoming] = {}
        self._uploading = asyncio.Lock()

    async def connect(self, send: Send) -> None:
        """The server can be talked to, after Register; asks again for what had not come."""
        self._send = send
        self._connected.set()
        for sha256, incoming in self._incoming.items():
            await asyncio.to_thread(incoming.restart)
            await send(PackageRequest(sha256))

    def disconnect(self) -> None:
        """The connection is gone."""
        self._send = None
        self._connected.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("the connection was cut"))

    async def take(self, message: PackageWanted | PackageChunk) -> None:
        """A message of the server's."""
        if isinstance(message, PackageChunk):
            if incoming := self._incoming.get(message.sha256):
                await incoming.take(message.offset, message.data, is_last=message.last)
        elif (answer := self._answers.get(message.sha256)) and not answer.done():
            answer.set_result(message)

    async def fetch(self, package: Package, target: Path) -> None:
        """Downloads a package into the new file `target`. Raises ArchiveError."""
        incoming = Incoming(target, package.size_bytes, package.name or "The package of the template's modules")
        self._incoming[package.sha256] = incoming
        try:
            if self._send is not None:
                try:
                    await self._send(PackageRequest(package.sha256))
                except ConnectionClosed:
                    pass  # `connect` asks again
            await incoming.wait()
        finally:
            self._incoming.pop(package.sha256, None)

    async def offer(self, job_id: UUID, lease_id: UUID, package: Package, prepare: Prepare) -> str:
        """Brings a package to the server, if it lacks it; why it was not taken, or nothing."""
        async with self._uploading:
            while True:
                try:
                    return await self._try_offer(PackageOffer(job_id, lease_id, package), prepare)
                except (ConnectionError, ConnectionClosed):
                    await self._connected.wait()

    async def _try_offer(self, offer: PackageOffer, prepare: Prepare) -> str:
        await self._connected.wait()
        send, sha256 = self._send, offer.package.sha256
        if send is None:
            raise ConnectionError("the connection was cut")
        try:
            expected = self._expect(sha256)
            await send(offer)
            answer = await expected
            if answer.is_wanted:
                answer = await self._upload(send, offer.package, await prepare())
            return answer.error
        finally:
            self._answers.pop(sha256, None)

    def _expect(self, sha256: str) -> asyncio.Future[PackageWanted]:
        answer: asyncio.Future[PackageWanted] = asyncio.get_running_loop().create_future()
        self._answers[sha256] = answer
        return answer

    async def _upload(self, send: Send, package: Package, file: Path) -> PackageWanted:
        offset = 0
        with await asyncio.to_thread(file.open, "rb") as source:
            # The answer may come before the last part: the server has given up.
            answer = self._expect(package.sha256)
            while offset < package.size_bytes and not answer.done():
                data = await asyncio.to_thread(source.read, CHUNK_BYTES)
                is_last = offset + len(data) >= package.size_bytes
                await send(PackageChunk(package.sha256, offset, data, is_last))
                offset += len(data)
        return await answer
