"""Serves gRPC calls with one message each way on a unix socket: the one file of the provider that does I/O.

`server.py` starts it with a table of methods. Every call is a task of its own; calls in flight when the server
closes are finished (5 s at most), and a peer that hangs up does not stop what it asked for.
docs/design/provider.md says why this is not grpcio.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import structlog

from devyard.provisioner.provider.transport.http2 import (
    INTERNAL,
    Http2Connection,
    PeerError,
    Request,
)

Method = Callable[[bytes], Awaitable[bytes]]
Methods = Mapping[str, Method]

CLOSE_GRACE_S = 5.0

_log = structlog.get_logger(__name__)


class GrpcServer:
    """Listens on one socket. `methods_of` makes the table of methods of a new connection, by path."""

    def __init__(self, methods_of: Callable[[], Methods]) -> None:
        self._methods_of = methods_of
        self._listener: asyncio.Server | None = None
        self.connections: set[_Connection] = set()
        self.calls: set[asyncio.Task[None]] = set()

    async def start(self, socket_path: Path) -> None:
        """Binds the socket; only the owner may open it."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(
            lambda: _Connection(self, self._methods_of()), str(socket_path), start_serving=False
        )
        await asyncio.to_thread(socket_path.chmod, 0o600)
        await self._listener.start_serving()

    async def close(self) -> None:
        """Takes no more calls, finishes those in flight, closes every connection."""
        if self._listener is not None:
            self._listener.close()
        for connection in self.connections:
            connection.say_goodbye()
        if self.calls:
            await asyncio.wait(self.calls, timeout=CLOSE_GRACE_S)
        for call in self.calls:
            call.cancel()
        for connection in list(self.connections):
            connection.close()


class _Connection(asyncio.Protocol):
    def __init__(self, server: GrpcServer, methods: Methods) -> None:
        self._server = server
        self._methods = methods
        self._http2 = Http2Connection(methods)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, so there is no type to ask for.
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._write()

    def data_received(self, data: bytes) -> None:
        try:
            requests = self._http2.receive(data)
        except PeerError as error:
            _log.warning("provider connection broke the protocol", reason=str(error))
            self.close()
            return
        for request in requests:
            self._begin(request)
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._server.connections.discard(self)

    def say_goodbye(self) -> None:
        self._http2.say_goodbye()
        self._write()

    def close(self) -> None:
        self._write()
        if self._transport is not None:
            self._transport.close()

    def _begin(self, request: Request) -> None:
        method = self._methods[request.path]
        task = asyncio.get_running_loop().create_task(self._answer(request, method))
        self._server.calls.add(task)
        task.add_done_callback(self._server.calls.discard)

    async def _answer(self, request: Request, method: Method) -> None:
        try:
            message = await method(request.message)
        except Exception as error:
            # The edge: a defect of ours fails this call, which Terraform reports, and nothing else.
            _log.exception("provider call failed", call=request.path)
            self._http2.refuse(request.stream_id, INTERNAL, f"{type(error).__name__} in {request.path}")
        else:
            self._http2.respond(request.stream_id, message)
        self._write()

    def _write(self) -> None:
        if self._transport is not None and (output := self._http2.take_output()):
            self._transport.write(output)
