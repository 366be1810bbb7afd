"""One API process: the application on uvicorn's HTTP protocol, fed with connections that the relay accepted.

Started by the supervisor, never by hand: imports the application while the database starts, then waits for its
settings on the control pipe. Ends gracefully on SIGTERM (DRAIN_S), at once when the supervisor is gone.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop

from devyard.runtime.imports import quick_imports
from devyard.runtime.limits import raise_file_limit
from devyard.runtime.logs import set_up_logs
from devyard.runtime.parent import ControlPipe
from devyard.runtime.watchdog import Stall, Watchdog
from devyard.server.processes.accepted import AcceptedConnections
from devyard.server.processes.httpprotocol import BoundedHttpProtocol
from devyard.server.processes.serverapp import (
    OpenApp,
    ServerApp,
    Start,
    StartRefused,
    decode_start,
    import_open_app,
)
from devyard.wire import agentlink, provisionerlink
from devyard.wire.streams import RELAY_PREFIX

DRAIN_S = 10
KEEP_ALIVE_S = 60
MAX_OPEN_CONNECTIONS = 10_000
RESERVED_FDS = 200
PING_EVERY_S = 10
PING_TIMEOUT_S = 20
MAX_WEBSOCKET_MESSAGE_BYTES = max(provisionerlink.MAX_MESSAGE_BYTES, agentlink.MAX_MESSAGE_BYTES)

_log = structlog.get_logger("api")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def run_api_process(app_reference: str) -> None:
    """The whole life of an API process; exits 1 when the supervisor is gone before it said what to do."""
    with quick_imports():
        open_app = import_open_app(app_reference)
    control = ControlPipe()
    try:
        start = decode_start(control.read_line())
    except EOFError:
        sys.exit(1)
    set_up_logs(start.settings.log_format, start.settings.log_level, process=f"api-{os.getpid()}")
    try:
        uvloop.run(_serve(open_app, start, control))
    except StartRefused as error:
        print(json.dumps({"refused": str(error)}), flush=True)  # noqa: T201 (the supervisor reads it)
        sys.exit(1)


async def _serve(open_app: OpenApp, start: Start, control: ControlPipe) -> None:
    loop = asyncio.get_running_loop()
    watchdog = Watchdog(_report_stall)
    loop.add_reader(control.fileno(), lambda: os._exit(1) if control.on_parent_gone() else None)
    ended = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ended.set)
    async with (
        open_app(start.settings, internal_key=start.internal_key) as app,
        _accepting(app, Path(start.handover_path)) as accepted,
    ):
        await accepted.registered.wait()
        watchdog.start()  # building the routes stalls nobody: there is no connection yet
        print(json.dumps({"ready": True}), flush=True)  # noqa: T201 (the supervisor reads it)
        await ended.wait()
    watchdog.stop()


@contextlib.asynccontextmanager
async def _accepting(app: ServerApp, handover_path: Path) -> AsyncIterator[AcceptedConnections]:
    """uvicorn without a listener of its own; leaving it drains."""
    config = make_config(refuse_relay_requests(app.asgi))
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[])
    ticking = asyncio.ensure_future(server.main_loop())
    loop = asyncio.get_running_loop()

    def make_protocol() -> asyncio.Protocol:
        return BoundedHttpProtocol(
            config=config, server_state=server.server_state, app_state=server.lifespan.state, _loop=loop
        )

    accepted = AcceptedConnections(
        handover_path,
        app.stream_keys,
        make_protocol,
        lambda: len(server.server_state.connections),
        max_open=_max_open_connections(),
    )
    running = asyncio.ensure_future(accepted.run())
    try:
        yield accepted
    finally:
        accepted.drain()
        # Connections taken a moment ago get their protocol before it is asked to shut down.
        await asyncio.sleep(0.01)
        running.cancel()
        server.should_exit = True
        await asyncio.gather(ticking, running, return_exceptions=True)
        await server.shutdown(sockets=[])


def make_config(asgi: Asgi) -> uvicorn.Config:
    """uvicorn's settings, loaded. Its WebSockets take the largest message that any of our links sends, and a peer
    that answers no ping (a cable pulled, a laptop closed) is gone after PING_EVERY_S + PING_TIMEOUT_S.
    """
    config = uvicorn.Config(
        asgi,
        http=BoundedHttpProtocol,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_WEBSOCKET_MESSAGE_BYTES,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    config.load()
    return config


def refuse_relay_requests(asgi: Asgi) -> Asgi:
    """Answers 421 to requests for the relay that came on a connection which already went to the API."""
    body = json.dumps({"message": "This address is served on a new connection; open one."}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or not scope["path"].startswith(RELAY_PREFIX):
            await asgi(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 421, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


def _max_open_connections() -> int:
    return min(MAX_OPEN_CONNECTIONS, max(raise_file_limit() - RESERVED_FDS, 64))


def _report_stall(stall: Stall) -> None:
    _log.warning("loop_stalled", blocked_s=round(stall.blocked_s, 3), where=stall.where, frames=stall.stack)
