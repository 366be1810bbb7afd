"""Long answers: JSON over websockets and server-sent events. Bounded, with heartbeats, ended by either side.

A source is an async iterator of values; nothing is queued beyond the one value being sent, so a slow reader slows
its source and no one else. `closing` tells apart the client's end from a source's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from litestar.response import ServerSentEvent, ServerSentEventMessage

HEARTBEAT_S = 15.0

AnySocket = WebSocket[Any, Any, Any]


@asynccontextmanager
async def watch_close(socket: AnySocket) -> AsyncIterator[None]:
    """Cancels the body when the client closes; what the client sends is read and dropped."""
    body = asyncio.current_task()
    assert body is not None
    is_gone = False

    async def read() -> None:
        nonlocal is_gone
        with suppress(WebSocketDisconnect):
            while (await socket.receive())["type"] != "websocket.disconnect":
                pass
        is_gone = True
        body.cancel()

    reader = asyncio.create_task(read())
    try:
        yield
    except asyncio.CancelledError:
        if not is_gone:
            raise
        body.uncancel()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def send_values(socket: AnySocket, values: AsyncIterator[Any]) -> None:
    """Accept, send each value as one JSON text message, close when the source ends."""
    await socket.accept()
    async with watch_close(socket):
        async for value in values:
            await socket.send_text(msgspec.json.encode(value).decode())
        await socket.close()


def stream_events(events: AsyncIterator[tuple[str, Any]]) -> ServerSentEvent:
    """A server-sent-event answer of (type, value) pairs, with a comment where nothing happens for a while."""

    async def write() -> AsyncIterator[ServerSentEventMessage]:
        async for kind, value in with_heartbeats(events):
            if kind is None:
                yield ServerSentEventMessage(comment="heartbeat")
            else:
                yield ServerSentEventMessage(event=kind, data=msgspec.json.encode(value).decode())

    return ServerSentEvent(write(), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


async def with_heartbeats(
    events: AsyncIterator[tuple[str, Any]], period_s: float = HEARTBEAT_S
) -> AsyncIterator[tuple[str | None, Any]]:
    """The events, with (None, None) whenever `period_s` pass without one."""
    pending: asyncio.Task[tuple[str, Any]] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait([pending], timeout=period_s)
            if not done:
                yield None, None
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield event
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
