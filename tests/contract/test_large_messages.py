"""The largest message of a link through the WebSocket protocol that API processes use."""

import asyncio
from typing import Any

import uvicorn
import websockets

from devyard.server.processes.apiprocess import make_config
from devyard.wire import provisionerlink


async def test_a_message_of_the_largest_size_arrives_whole() -> None:
    sizes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        sizes.append(len(message.get("bytes") or b""))
        await send({"type": "websocket.close", "code": 1000})

    config = make_config(app)
    config.host, config.port, config.lifespan = "127.0.0.1", 0, "off"
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with websockets.connect(f"ws://127.0.0.1:{port}/x", compression=None) as client:
        await client.send(bytes(provisionerlink.MAX_MESSAGE_BYTES))
        await client.wait_closed()
        assert client.close_code == 1000
    server.should_exit = server.force_exit = True
    await serving
    assert sizes == [provisionerlink.MAX_MESSAGE_BYTES]
