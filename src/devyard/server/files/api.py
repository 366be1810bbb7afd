"""Routes of uploaded archives."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import IO, Any
from uuid import uuid4

from litestar import Request, get, post
from litestar import Response as HttpResponse
from litestar.response import Stream

from devyard.server.access.rules import Actor, check
from devyard.server.audit.actions import record
from devyard.server.db.pool import transaction
from devyard.server.files import queries, rules, zips
from devyard.server.http.guard import Gate, needs
from devyard.server.http.ids import parse_id
from devyard.server.services import Services
from devyard.wire.errors import TooLarge, UnsupportedMedia
from devyard.wire.templates import UploadResponse

TAR = ("application/x-tar", "application/tar")
ZIP = (zips.ZIP, "application/x-zip-compressed")
PART_BYTES = 512 * 1024


@post("/files", opt=needs("file:create"), request_max_body_size=rules.MAX_UPLOAD_BYTES + 1)
async def upload(
    request: Request[Any, Any, Any], actor: Actor, services: Services, gate: Gate
) -> HttpResponse[UploadResponse]:
    """Take a tar, or a zip, which is kept as a tar; 201 when new, 200 when the caller has uploaded it before."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TAR and kind not in ZIP:
        raise UnsupportedMedia(
            f"Upload a tar ({TAR[0]}) or a zip ({ZIP[0]}), not {kind[:80] or 'a body without a content type'}."
        )
    async with gate.uploads:
        data = await _read_bounded(request)
        if kind in ZIP:
            data = await asyncio.to_thread(zips.convert_to_tar, data)
        await asyncio.to_thread(rules.check_tar, data)
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        async with transaction(services.pool) as connection:
            file_id = uuid4()
            is_new = await queries.insert_file(
                connection, file_id=file_id, created_by=actor.user_id, sha256=sha256, mimetype=TAR[0], data=data
            )
            if not is_new:
                file_id = await queries.touch_file(connection, actor.user_id, sha256) or file_id
            else:
                await record(
                    connection,
                    actor,
                    "create",
                    "file",
                    file_id,
                    target=sha256[:12],
                    after={"sha256": sha256, "size_bytes": len(data)},
                )
    return HttpResponse(UploadResponse(file_id), status_code=201 if is_new else 200)


@get("/files/{file:str}", opt=needs("file:read"))
async def download(actor: Actor, services: Services, gate: Gate, file: str, format: str = "") -> Stream:
    """Give an archive back as a tar, or with `format=zip` as a zip."""
    if format not in ("", "tar", "zip"):
        raise UnsupportedMedia("Archives are given back as tar or zip.")
    info = await queries.get_file_info(services.pool, parse_id("file", file))
    check(actor, "file:read", owner_id=info.created_by)
    if format == "zip":
        async with gate.uploads:
            packed = await asyncio.to_thread(zips.convert_to_zip, await _read_file(services, info))
        return Stream(_send_and_close(packed), media_type=zips.ZIP)

    async def read() -> AsyncIterator[bytes]:
        for offset in range(0, info.size_bytes, PART_BYTES):
            yield await queries.get_file_part(services.pool, info.id, offset, PART_BYTES)

    headers = {"Content-Length": str(info.size_bytes), "ETag": f'"{info.sha256}"'}
    return Stream(read(), media_type=info.mimetype, headers=headers)


async def _read_file(services: Services, info: queries.FileInfo) -> bytes:
    data = bytearray()
    for offset in range(0, info.size_bytes, PART_BYTES):
        data += await queries.get_file_part(services.pool, info.id, offset, PART_BYTES)
    return bytes(data)


async def _send_and_close(file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        while part := await asyncio.to_thread(file.read, PART_BYTES):
            yield part
    finally:
        file.close()


async def _read_bounded(request: Request[Any, Any, Any]) -> bytes:
    """The body, at most MAX_UPLOAD_BYTES of it.

    Raises:
        TooLarge: there is more.
    """
    limit_mib = rules.MAX_UPLOAD_BYTES >> 20
    too_large = TooLarge(f"An archive may have at most {limit_mib} MiB.")
    if (request.content_length or 0) > rules.MAX_UPLOAD_BYTES:
        raise too_large
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > rules.MAX_UPLOAD_BYTES:
            raise too_large
    return bytes(data)


routes: list[Any] = [upload, download]
