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

AGENT_PATH = "/relay/v1/agent"
CLIENT_PATH = "/relay/v1/stream"
RELAY_PREFIX = "/relay/"
UPGRADE_PROTOCOL = "devyard-stream"
"""Value of the HTTP `Upgrade` header on both paths; the ticket travels in `Authorization: Bearer`."""

MAX_LINE_BYTES = 4096
"""Upper bound of each JSON line below, newline included."""


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


# Client ↔ agent, end to end, one JSON line each way, then the payload.


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
