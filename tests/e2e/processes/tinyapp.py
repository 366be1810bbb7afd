"""A small ASGI application behind the real processes: what the tests of the supervisor and the handover serve."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devyard.server.processes.serverapp import ServerApp
from devyard.server.settings import ServerSettings

KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"the tests' stream key").digest())
KEY_ID = "test"


@contextlib.asynccontextmanager
async def open_app(settings: ServerSettings, *, internal_key: str) -> AsyncIterator[ServerApp]:
    if settings.postgres_url and settings.postgres_url.startswith("postgresql://devyard@/"):
        import asyncpg

        connection = await asyncpg.connect(settings.postgres_url)
        await connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz DEFAULT now())")
        await connection.execute("INSERT INTO starts DEFAULT VALUES")
        starts = await connection.fetchval("SELECT count(*) FROM starts")
        await connection.close()
    else:
        starts = 0
    yield ServerApp(_make_asgi(starts), {KEY_ID: KEY.public_key().public_bytes_raw()})


def _make_asgi(starts: int) -> Any:
    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        elif scope["type"] == "websocket":
            await _echo(receive, send)
        else:
            await _answer(scope, receive, send, starts)

    return asgi


async def _answer(scope: Any, receive: Any, send: Any, starts: int) -> None:
    if scope["path"] == "/refuse":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})
        return
    digest, size = hashlib.sha256(), 0
    while True:
        message = await receive()
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if scope["path"] == "/stall":
        import time

        time.sleep(float(scope["query_string"]))
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"]))
    answer = {
        "pid": os.getpid(),
        "starts": starts,
        "path": scope["path"],
        "client": list(scope["client"]),
        "size": size,
        "sha256": digest.hexdigest(),
    }
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
