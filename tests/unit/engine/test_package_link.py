import asyncio
import hashlib
import os
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from devyard.provisioner.link.packages import PackageLink
from devyard.provisioner.templates.archive import ArchiveError
from devyard.wire.provisionerlink import CHUNK_BYTES
from devyard.wire.provisionerpackages import Package, PackageChunk, PackageOffer, PackageRequest, PackageWanted

DATA = os.urandom(2 * CHUNK_BYTES + 10)
PACKAGE = Package(kind="modules", sha256=hashlib.sha256(DATA).hexdigest(), size_bytes=len(DATA))


class Wire:
    """What was sent; a test looks at it and answers."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[msgspec.Struct] = asyncio.Queue()

    async def send(self, message: msgspec.Struct) -> None:
        await self.messages.put(message)

    async def next(self) -> msgspec.Struct:
        return await asyncio.wait_for(self.messages.get(), 5)


async def test_an_upload_that_is_cut_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(DATA)

    async def prepare() -> Path:
        return tmp_path / "package"

    link, first, second = PackageLink(), Wire(), Wire()
    job_id, lease_id = uuid4(), uuid4()
    task = asyncio.create_task(link.offer(job_id, lease_id, PACKAGE, prepare))
    await link.connect(first.send)
    assert await first.next() == PackageOffer(job_id, lease_id, PACKAGE)
    await link.take(PackageWanted(PACKAGE.sha256, True))
    assert (await first.next()).offset == 0
    link.disconnect()

    await link.connect(second.send)
    assert isinstance(await second.next(), PackageOffer)
    await link.take(PackageWanted(PACKAGE.sha256, True))
    data = b""
    while len(data) < len(DATA):
        chunk = await second.next()
        assert isinstance(chunk, PackageChunk)
        assert chunk.offset == len(data)
        data += chunk.data
    assert chunk.last
    assert data == DATA
    await link.take(PackageWanted(PACKAGE.sha256, False))
    assert await asyncio.wait_for(task, 5) == ""


async def test_what_the_server_has_or_refuses_is_not_even_packed() -> None:
    async def refuse() -> Path:
        raise AssertionError

    link, wire = PackageLink(), Wire()
    await link.connect(wire.send)
    for error in ("", "It is too large."):
        task = asyncio.create_task(link.offer(uuid4(), uuid4(), PACKAGE, refuse))
        await wire.next()
        await link.take(PackageWanted(PACKAGE.sha256, False, error))
        assert await asyncio.wait_for(task, 5) == error
    assert wire.messages.empty()


async def test_a_download_that_is_cut_begins_anew(tmp_path: Path) -> None:
    link, wire = PackageLink(), Wire()
    await link.connect(wire.send)
    task = asyncio.create_task(link.fetch(PACKAGE, tmp_path / "package"))
    assert await wire.next() == PackageRequest(PACKAGE.sha256)
    await link.take(PackageChunk(PACKAGE.sha256, 0, DATA[:CHUNK_BYTES], False))
    link.disconnect()
    await link.connect(wire.send)
    assert await wire.next() == PackageRequest(PACKAGE.sha256)
    for offset in range(0, len(DATA), CHUNK_BYTES):
        part = DATA[offset : offset + CHUNK_BYTES]
        await link.take(PackageChunk(PACKAGE.sha256, offset, part, offset + len(part) == len(DATA)))
    await asyncio.wait_for(task, 5)
    assert (tmp_path / "package").read_bytes() == DATA


async def test_a_package_that_the_server_lacks_fails_the_download(tmp_path: Path) -> None:
    link, wire = PackageLink(), Wire()
    await link.connect(wire.send)
    task = asyncio.create_task(link.fetch(PACKAGE, tmp_path / "package"))
    await wire.next()
    await link.take(PackageChunk(PACKAGE.sha256, 0, b"", True))
    with pytest.raises(ArchiveError, match="shorter than announced"):
        await asyncio.wait_for(task, 5)


async def test_a_full_disk_fails_the_download_and_not_the_connection(tmp_path: Path) -> None:
    link, wire = PackageLink(), Wire()
    await link.connect(wire.send)
    task = asyncio.create_task(link.fetch(PACKAGE, Path("/dev/full")))
    await wire.next()
    for offset in range(0, len(DATA), CHUNK_BYTES):
        await link.take(PackageChunk(PACKAGE.sha256, offset, DATA[offset : offset + CHUNK_BYTES], False))
    with pytest.raises(OSError, match="space"):
        await asyncio.wait_for(task, 5)
