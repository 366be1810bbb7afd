"""How a client's stream meets an agent at a relay.

Three parties speak here: the agent keeps spare connections at the relay, the client opens one connection per
stream, the relay joins the two and passes bytes unread. Client and agent greet each other end to end with one
line each (`StreamHead`, `StreamReply`) before the payload starts. docs/design/tunnels.md has the sequences.

Who may connect is said by a *ticket*: claims signed by the server (Ed25519), checked by the relay without a
call to the server, so that a stalled server freezes nobody's terminal.
"""

from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire import streampaths

AGENT_PATH = streampaths.AGENT_PATH
CLIENT_PATH = streampaths.CLIENT_PATH
RELAY_PREFIX = streampaths.RELAY_PREFIX
UPGRADE_PROTOCOL = streampaths.UPGRADE_PROTOCOL
STREAM_HEAD_HEADER = streampaths.STREAM_HEAD_HEADER
MAX_LINE_BYTES = streampaths.MAX_LINE_BYTES


class TicketClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a stream ticket states. `expires_at` is in Unix seconds; only the opening of a stream is checked."""

    kind: Literal["agent", "client"]
    agent_id: UUID
    workspace_id: UUID
    expires_at: int
    user_id: UUID | None = None
    key_id: str = ""


class RelayAccess(msgspec.Struct, frozen=True):
    """One relay and the ticket that opens streams there. `url` is an http(s) base URL without trailing slash."""

    url: str
    ticket: str
    expires_at: int


# Relay ↔ agent, one JSON object per line, on a spare connection until the stream is attached.


class RelayPing(msgspec.Struct, frozen=True, tag="ping", tag_field="type"):
    """Relay → agent: still there? Sent on idle spare connections."""


class RelayOpen(msgspec.Struct, frozen=True, tag="open", tag_field="type"):
    """Relay → agent: a client is attached; every byte after this line is the client's."""

    stream_id: str
    user_id: UUID | None = None


class AgentPong(msgspec.Struct, frozen=True, tag="pong", tag_field="type"):
    """Agent → relay: the answer to a ping."""


class AgentAccept(msgspec.Struct, frozen=True, tag="accept", tag_field="type"):
    """Agent → relay: the answer to an open; every byte after this line is for the client."""


RelayLine = RelayPing | RelayOpen
AgentLine = AgentPong | AgentAccept


# Client ↔ agent, end to end, one JSON line each way, then the payload. The client sends its line as the
# first bytes of the stream, or with its request in the header STREAM_HEAD_HEADER, which the relay passes on
# as such.


class StreamHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """Client → agent: what this stream is for.

    `ssh`: the agent's SSH server. `tcp`: a connection to `host`:`port` as the agent sees it. `ping`: the agent
    echoes every byte.
    """

    kind: Literal["ssh", "tcp", "ping"]
    host: str = ""
    port: int = 0
    version: int = 1


class StreamReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Agent → client: the payload follows (`error` empty), or why not (the stream then ends)."""

    error: str = ""
