"""One agent's control connection: reads reports, sends what the server has to say. docs: wire/agentlink.py.

Made by the hub for each WebSocket. A reader feeds the report store, a sender empties a small outbox, so that an
agent that reads slowly delays nobody. Invariant: no database connection is held, and a report is acknowledged
only when the store says so.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from devyard.server.agents import rules
from devyard.server.agents.queries import ManifestRow
from devyard.server.agents.store import ReportStore
from devyard.wire import agentlink
from devyard.wire.agentlink import AgentMessage, ServerMessage

log = structlog.get_logger("agents.link")

MAX_OUTBOX = 32
MAX_UNSTORED_BYTES = 512 * 1024
MAX_LINES = 200
FAR_PAST = datetime(2000, 1, 1, tzinfo=UTC)

# Close codes of ours (RFC 6455, 7.4.2: 4000 to 4999 are for applications).
REPLACED, PROTOCOL, TOO_SLOW, GOING, REDIAL = 4001, 1002, 4002, 1012, 4003

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AgentMessage).decode


class ProtocolError(Exception):
    """The agent broke the rules; the text is the reason of the close."""


class AgentConnection:
    """A connected agent."""

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        manifest: ManifestRow,
        store: ReportStore,
        now: Callable[[], datetime],
    ) -> None:
        self.id = uuid4()
        self.agent_id = manifest.agent_id
        self.workspace_id = manifest.workspace_id
        self.build_id = manifest.build_id
        self.tickets_expire_at = 0
        self.is_leaving = False
        self._socket = socket
        self._store = store
        self._now = now
        self._lifecycle = manifest.lifecycle
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._stored_seq = self._acked_seq = 0
        self._unstored_bytes = self._size_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._end: tuple[int, str] | None = None

    def send(self, message: ServerMessage) -> None:
        """Queue a message; an agent that does not read loses its connection."""
        if len(self._outbox) >= MAX_OUTBOX:
            self.end(TOO_SLOW, "the agent does not read")
            return
        self._outbox.append(_encode(message))
        self._wake.set()

    def end(self, code: int, reason: str) -> None:
        """Close once what is queued is sent."""
        self._end = self._end or (code, reason)
        self._wake.set()

    def acknowledge(self, seq: int, size_bytes: int) -> None:
        """Reports up to `seq` are stored."""
        self._stored_seq = max(self._stored_seq, seq)
        self._unstored_bytes -= size_bytes
        self._has_room.set()
        self._wake.set()

    async def run(self) -> None:
        """Serve until either side ends the connection."""
        reader = asyncio.create_task(self._read())
        sender = asyncio.create_task(self._send())
        try:
            await asyncio.wait({reader, sender}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            sender.cancel()
            results = await asyncio.gather(reader, sender, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | OSError):
                log.error("an agent's connection failed", agent=str(self.agent_id), exc_info=result)

    async def _read(self) -> None:
        try:
            first = await self._receive()
            if not isinstance(first, agentlink.Hello):
                raise ProtocolError("the first message has to be hello")
            self._store.add_hello(self.agent_id, self.workspace_id, first)
            while True:
                message = await self._receive()
                self._handle(message)
        except ProtocolError as error:
            log.warning("an agent broke the protocol", agent=str(self.agent_id), reason=str(error))
            self.end(PROTOCOL, str(error))
            await asyncio.sleep(5)

    async def _receive(self) -> AgentMessage:
        await self._has_room.wait()
        await self._store.wait_for_room()
        data = await self._socket.receive_bytes()
        if len(data) > agentlink.MAX_MESSAGE_BYTES:
            raise ProtocolError("a message is too long")
        try:
            message: AgentMessage = _decode(data)
        except msgspec.MsgspecError:
            raise ProtocolError("a message can't be read") from None
        if not isinstance(message, agentlink.Hello):
            self._unstored_bytes += len(data)
            self._size_bytes = len(data)
            if self._unstored_bytes > MAX_UNSTORED_BYTES:
                self._has_room.clear()
        return message

    def _handle(self, message: AgentMessage) -> None:
        agent_id, store = self.agent_id, self._store
        if isinstance(message, agentlink.Hello):
            store.add_hello(agent_id, self.workspace_id, message)
            return
        if isinstance(message, agentlink.Logs):
            if len(message.lines) > MAX_LINES:
                raise ProtocolError(f"more than {MAX_LINES} log lines in a message")
            for line in message.lines:
                at = aware(line.created_at)
                store.add_log(agent_id, message.source_id, at, line.level, line.output)
        elif isinstance(message, agentlink.Lifecycle):
            self._enter(message)
        elif isinstance(message, agentlink.Metadata):
            for value in message.values:
                at = aware(value.collected_at)
                store.add_metadata(agent_id, msgspec.structs.replace(value, collected_at=at))
        elif isinstance(message, agentlink.Stats):
            store.add_stats(agent_id, self.workspace_id, message)
        elif isinstance(message, agentlink.AppHealths):
            for app, health in message.healths.items():
                store.add_app_health(agent_id, self.workspace_id, app, health)
        else:
            started_at, ended_at = aware(message.started_at), aware(message.ended_at)
            run = msgspec.structs.replace(message, started_at=started_at, ended_at=ended_at)
            store.add_script_run(agent_id, run)
        store.add_ack(self, message.seq, self._size_bytes)

    def _enter(self, message: agentlink.Lifecycle) -> None:
        """A step that makes no sense is dropped: it is acknowledged, since sending it again would not help."""
        if not rules.can_enter(self._lifecycle, message.state):
            log.warning(
                "lifecycle step dropped", agent=str(self.agent_id), before=self._lifecycle, after=message.state
            )
            return
        self._lifecycle = message.state
        self._store.add_lifecycle(self.agent_id, self.workspace_id, message.state, aware(message.changed_at))

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await self._socket.send_bytes(self._outbox.popleft())
            if self._stored_seq > self._acked_seq:
                self._acked_seq = self._stored_seq
                await self._socket.send_bytes(_encode(agentlink.Ack(self._acked_seq)))
            if self._end is not None:
                await self._socket.close(*self._end)
                return


def aware(at: datetime) -> datetime:
    """The time with a zone; what an agent with a broken clock calls a time is kept within sense."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(at, FAR_PAST)
