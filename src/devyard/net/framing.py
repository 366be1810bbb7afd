"""The line protocol of an agent's spare connection, as two pure state machines: bytes in, events out.

    relay   IDLE ──ping()──▶ IDLE, waiting for a pong
            IDLE ──open()──▶ OPENING ──accept──▶ STREAM
    agent   IDLE ──ping──▶ IDLE, Send(pong)
            IDLE ──open──▶ GREETING, Send(accept), Opened ──head──▶ STREAM, Greeted

`receive` answers how many bytes it used: those after the switch to STREAM belong to the stream and are
never touched, so the caller can leave them in the kernel (MSG_PEEK) for `splice`. Time is an argument. No
I/O. Called by proxy/spares.py and net/dial.py. docs/design/tunnels.md
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar
from uuid import UUID

import msgspec

from devyard.wire.streams import (
    MAX_LINE_BYTES,
    AgentAccept,
    AgentLine,
    AgentPong,
    RelayLine,
    RelayOpen,
    RelayPing,
    StreamHead,
    StreamReply,
)

PING_INTERVAL_S = 15.0
PONG_TIMEOUT_S = 12.0
"""An idle spare connection is dead when a ping stays unanswered this long: 27 s after its last sign of
life.
"""


class PeerError(Exception):
    """The peer broke the protocol; the connection is of no further use."""


class State(Enum):
    """Where a spare connection stands; see the module head."""

    IDLE = "idle"
    OPENING = "opening"
    GREETING = "greeting"
    STREAM = "stream"
    BROKEN = "broken"


@dataclass(frozen=True)
class Ponged:
    """Relay: the agent answered a ping."""


@dataclass(frozen=True)
class Accepted:
    """Relay: the agent took the stream; what follows is payload."""


@dataclass(frozen=True)
class Send:
    """Agent: write these bytes now."""

    data: bytes


@dataclass(frozen=True)
class Opened:
    """Agent: a client is attached; its StreamHead follows."""

    stream_id: str
    user_id: UUID | None


@dataclass(frozen=True)
class Greeted:
    """Agent: what the client wants; what follows is payload."""

    head: StreamHead


T = TypeVar("T")
RelayEvent = Ponged | Accepted
AgentEvent = Send | Opened | Greeted

_agent_lines = msgspec.json.Decoder(AgentLine)
_relay_lines = msgspec.json.Decoder(RelayLine)
_heads = msgspec.json.Decoder(StreamHead)
_replies = msgspec.json.Decoder(StreamReply)


def encode_line(message: RelayLine | AgentLine | StreamHead | StreamReply) -> bytes:
    """One JSON line with its newline. Raises PeerError when it is longer than the protocol allows."""
    line = msgspec.json.encode(message) + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise PeerError("a protocol line is too long")
    return line


class RelaySide:
    """The relay's half of a spare connection. `now` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.state = State.IDLE
        self.heard_at = now
        self.pinged_at: float | None = None
        self._lines = LineBuffer()

    def receive(self, data: bytes, now: float) -> tuple[int, list[RelayEvent]]:
        """Bytes used of `data`, and what they mean. Raises PeerError."""
        used, events = 0, list[RelayEvent]()
        while self.state in (State.IDLE, State.OPENING):
            count, line = self._lines.feed(data[used:])
            used += count
            if line is None:
                break
            message = _decode(_agent_lines, line, self)
            self.heard_at, self.pinged_at = now, None
            if isinstance(message, AgentPong):
                events.append(Ponged())
            elif self.state is State.OPENING:
                self.state = State.STREAM
                events.append(Accepted())
            else:
                self.state = State.BROKEN
                raise PeerError("the agent accepted a stream that nobody opened")
        return used, events

    def ping(self, now: float) -> bytes:
        """The bytes of a ping; the answer is due within PONG_TIMEOUT_S."""
        self._require(State.IDLE)
        if self.pinged_at is None:
            self.pinged_at = now
        return encode_line(RelayPing())

    def open(self, stream_id: str, user_id: UUID | None) -> bytes:
        """The bytes that attach a client; every byte after them is the client's."""
        self._require(State.IDLE)
        self.state = State.OPENING
        return encode_line(RelayOpen(stream_id=stream_id, user_id=user_id))

    def is_ping_due(self, now: float) -> bool:
        """Whether the connection was silent for PING_INTERVAL_S and no ping is on its way."""
        return self.state is State.IDLE and self.pinged_at is None and now - self.heard_at >= PING_INTERVAL_S

    def is_dead(self, now: float) -> bool:
        """Whether a ping stayed unanswered too long."""
        return self.pinged_at is not None and now - self.pinged_at >= PONG_TIMEOUT_S

    def _require(self, state: State) -> None:
        if self.state is not state:
            raise RuntimeError(f"spare connection is {self.state.value}, not {state.value}")


class AgentSide:
    """The agent's half of a spare connection."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self._lines = LineBuffer()

    def receive(self, data: bytes) -> tuple[int, list[AgentEvent]]:
        """Bytes used of `data`, and what to do about them, in order. Raises PeerError."""
        used, events = 0, list[AgentEvent]()
        while self.state in (State.IDLE, State.GREETING):
            count, line = self._lines.feed(data[used:])
            used += count
            if line is None:
                break
            if self.state is State.IDLE:
                events.extend(self._on_relay_line(_decode(_relay_lines, line, self)))
            else:
                head = _decode(_heads, line, self)
                self.state = State.STREAM
                events.append(Greeted(head))
        return used, events

    def _on_relay_line(self, message: RelayLine) -> list[AgentEvent]:
        if isinstance(message, RelayPing):
            return [Send(encode_line(AgentPong()))]
        self.state = State.GREETING
        return [Send(encode_line(AgentAccept())), Opened(message.stream_id, message.user_id)]


class ReplyReader:
    """The client's half of the greeting: reads the one StreamReply line."""

    def __init__(self) -> None:
        self.state = State.GREETING
        self._lines = LineBuffer()

    def receive(self, data: bytes) -> tuple[int, StreamReply | None]:
        """Bytes used of `data`, and the reply once it is whole. Raises PeerError."""
        used, line = self._lines.feed(data)
        if line is None:
            return used, None
        reply = _decode(_replies, line, self)
        self.state = State.STREAM
        return used, reply


class LineBuffer:
    """Collects bytes up to a newline, at most MAX_LINE_BYTES of them."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> tuple[int, bytes | None]:
        """Bytes used, and the line without its newline once it is whole. Raises PeerError when it is too
        long.
        """
        end = data.find(b"\n")
        used = len(data) if end < 0 else end + 1
        line = self._partial + data[:used]
        if len(line) > MAX_LINE_BYTES or (end < 0 and len(line) == MAX_LINE_BYTES):
            raise PeerError("a protocol line is too long")
        if end < 0:
            self._partial = line
            return used, None
        self._partial = b""
        return used, line[:-1]


def _decode(decoder: "msgspec.json.Decoder[T]", line: bytes, side: "RelaySide | AgentSide | ReplyReader") -> T:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError:
        side.state = State.BROKEN
        raise PeerError("a protocol line is malformed") from None
