"""The control link: dials the server, holds one WebSocket, reconnects for ever. docs/design/agent.md

Owned by program.py. Invariants: a held request is no error (the build has not ended yet); only a refusal
that the server spells out ends the loop; everything in the outbox survives a reconnect. The import set is
small on purpose: this runs before anything else is loaded.
"""

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable

import msgspec

from devyard.agent import websocket
from devyard.agent.outbox import Outbox
from devyard.net.address import parse_relay_url
from devyard.net.requesthead import MAX_HEAD_BYTES, HeadError, ResponseHead, parse_response_head
from devyard.runtime.backoff import Backoff
from devyard.wire.agentlink import CONNECT_PATH, MAX_MESSAGE_BYTES, AgentMessage, Hello, ServerMessage

log = logging.getLogger("devyard.agent.link")

CONNECT_TIMEOUT_S = 15.0
HELD_TIMEOUT_S = 900.0
"""The server holds the request while the build runs; a build may take long, a dead peer is found by keepalive."""
PING_INTERVAL_S = 15.0
SILENCE_TIMEOUT_S = 40.0
SESSION_HEADERS = ("Coder-Session-Token",)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ServerMessage)


class LinkError(Exception):
    """This connection is over; another attempt may work."""


class RefusedError(LinkError):
    """The server answered the upgrade with an HTTP error; `is_explained` when the answer is our server's own."""

    def __init__(self, status: int, message: str, *, is_explained: bool) -> None:
        super().__init__(message)
        self.status = status
        self.is_explained = is_explained


class SupersededError(Exception):
    """The server will never take this agent: its build is not the latest. The message is the server's."""


class Connection:
    """One WebSocket after its upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = websocket.FrameReader(MAX_MESSAGE_BYTES)
        self.heard_at = time.monotonic()
        self.latency_ms = -1.0

    async def receive(self) -> list[bytes]:
        """The next messages (maybe none). Raises LinkError when the connection has ended."""
        data = await self._reader.read(256 * 1024)
        if not data:
            raise LinkError("the server ended the connection")
        self.heard_at = time.monotonic()
        messages: list[bytes] = []
        for event in self._frames.feed(data):
            if isinstance(event, websocket.Message):
                messages.append(event.data)
            elif isinstance(event, websocket.Pinged):
                await self._send_frame(websocket.PONG, event.payload)
            elif isinstance(event, websocket.Ponged):
                self._on_pong(event.payload)
            else:
                raise LinkError(f"the server closed the connection ({event.code} {event.reason})".rstrip())
        return messages

    async def send(self, message: AgentMessage) -> None:
        """Sends one message, with back-pressure."""
        await self._send_frame(websocket.BINARY, _encoder.encode(message))

    async def ping(self) -> None:
        """Sends a ping whose payload is the time, so that the pong tells the latency."""
        await self._send_frame(websocket.PING, repr(time.monotonic()).encode("ascii"))

    async def close(self) -> None:
        """Says goodbye and waits a moment for the bytes to leave."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._send_frame(websocket.CLOSE, websocket.encode_close(1000))
        self._writer.close()

    def abort(self) -> None:
        """Drops the connection at once."""
        self._writer.transport.abort()

    async def _send_frame(self, opcode: int, payload: bytes) -> None:
        self._writer.write(websocket.encode_frame(opcode, payload, os.urandom(4)))
        await self._writer.drain()

    def _on_pong(self, payload: bytes) -> None:
        with contextlib.suppress(ValueError):
            latency = (time.monotonic() - float(payload)) * 1000
            if 0 <= latency < 600_000:
                self.latency_ms = latency


async def dial(
    url: str, token: str, *, on_sent: Callable[[], object] = lambda: None, held_timeout_s: float = HELD_TIMEOUT_S
) -> Connection:
    """Upgrades a new connection to the server at `url`; `on_sent` is called while the server thinks.

    Raises LinkError, RefusedError, OSError.
    """
    address = parse_relay_url(url)
    key = websocket.make_key()
    request = websocket.encode_handshake(
        address.authority, address.prefix + CONNECT_PATH, key, dict.fromkeys(SESSION_HEADERS, token)
    )
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                ssl=ssl.create_default_context() if address.is_tls else None,
                limit=MAX_HEAD_BYTES,
            )
    except TimeoutError:
        raise LinkError(f"{address.authority} did not answer within {CONNECT_TIMEOUT_S:g} s") from None
    try:
        _keep_alive(writer)
        writer.write(request)
        on_sent()
        async with asyncio.timeout(held_timeout_s):
            head = await _read_head(reader)
            if head.status != 101:
                raise await _read_refusal(reader, head)
        if head.headers.get("sec-websocket-accept") != websocket.accept_of(key):
            raise LinkError("the server's upgrade is malformed")
    except TimeoutError:
        writer.transport.abort()
        raise LinkError("the server held the request for too long") from None
    except BaseException:
        writer.transport.abort()
        raise
    return Connection(reader, writer)


class ControlLink:
    """Keeps the agent connected.

    `on_request` is called when an upgrade is asked for, `make_hello` awaited after it, `on_message` called in
    order.
    """

    def __init__(
        self,
        url: str,
        token: str,
        outbox: Outbox,
        make_hello: Callable[[], Awaitable[Hello]],
        on_message: Callable[[ServerMessage], None],
        *,
        on_request: Callable[[], object] = lambda: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._url, self._token = url, token
        self._outbox = outbox
        self._make_hello = make_hello
        self._on_message = on_message
        self._on_request = on_request
        self._backoff = backoff or Backoff()
        self._connection: Connection | None = None
        self._wake = asyncio.Event()
        self._stored = asyncio.Event()
        outbox.on_change = self._on_outbox

    @property
    def latency_ms(self) -> float:
        """Round trip to the server, -1 while unknown."""
        return self._connection.latency_ms if self._connection else -1.0

    async def run(self) -> None:
        """Connects and reconnects until cancelled. Raises SupersededError."""
        while True:
            try:
                await self._run_connection()
            except RefusedError as error:
                if error.status == 403 and error.is_explained:
                    raise SupersededError(str(error)) from None
                self._explain(error)
            except (LinkError, OSError, HeadError, websocket.FrameError, msgspec.MsgspecError) as error:
                log.warning("not connected to %s: %s", self._url, error)
            await asyncio.sleep(self._backoff.next_s())

    async def flush(self, timeout_s: float) -> bool:
        """Waits until the server has stored everything; False when that takes too long."""
        self._on_outbox()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stored.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends the connection in order."""
        if self._connection is not None:
            await self._connection.close()

    async def _run_connection(self) -> None:
        connection = await dial(self._url, self._token, on_sent=self._on_request)
        self._connection = connection
        log.info("connected to %s", self._url)
        try:
            await _first_end(self._receive(connection), self._send(connection), _watch(connection))
        finally:
            self._connection = None
            connection.abort()

    async def _receive(self, connection: Connection) -> None:
        while True:
            for data in await connection.receive():
                message = _decoder.decode(data)
                self._backoff.reset()
                self._on_message(message)

    async def _send(self, connection: Connection) -> None:
        await connection.send(await self._make_hello())
        self._outbox.reconnected()
        while True:
            self._wake.clear()
            while (report := self._outbox.take()) is not None:
                await connection.send(report)
            await self._wake.wait()

    def _on_outbox(self) -> None:
        self._wake.set()
        if self._outbox.is_empty:
            self._stored.set()
        else:
            self._stored.clear()

    def _explain(self, error: RefusedError) -> None:
        if error.status == 401:
            log.error(
                "The server at %s does not accept this agent's token (%s). It is retried; if this stays, "
                "the workspace was rebuilt or deleted: stop this agent, or start the workspace again.",
                self._url,
                error,
            )
        else:
            log.warning("the server at %s answered %d: %s", self._url, error.status, error)


async def _watch(connection: Connection) -> None:
    while True:
        await connection.ping()
        await asyncio.sleep(PING_INTERVAL_S)
        if time.monotonic() - connection.heard_at > SILENCE_TIMEOUT_S:
            raise LinkError("the server fell silent")


async def _first_end(*parts: Awaitable[None]) -> None:
    """Runs all parts until one ends, and raises what ended it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _read_head(reader: asyncio.StreamReader) -> ResponseHead:
    try:
        data = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise LinkError("the server ended the connection before it answered") from None
    except asyncio.LimitOverrunError:
        raise LinkError("the server's answer is too long") from None
    head = parse_response_head(data)
    if head is None:
        raise LinkError("the server's answer is malformed")
    return head


async def _read_refusal(reader: asyncio.StreamReader, head: ResponseHead) -> RefusedError:
    """The error in an answer that is not 101; only one with a JSON message is taken as the server's own word."""
    length = head.headers.get("content-length", "")
    body = b""
    with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
        async with asyncio.timeout(5.0):
            body = await reader.readexactly(min(int(length), 64 * 1024) if length.isdigit() else 0)
    try:
        message = msgspec.json.decode(body, type=dict[str, object]).get("message")
    except msgspec.MsgspecError:
        message = None
    if isinstance(message, str) and message:
        return RefusedError(head.status, message, is_explained=True)
    return RefusedError(head.status, f"HTTP status {head.status}", is_explained=False)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    from devyard.net.client import tune

    sock = writer.get_extra_info("socket")
    if isinstance(sock, socket.socket) or hasattr(sock, "setsockopt"):
        tune(sock)
