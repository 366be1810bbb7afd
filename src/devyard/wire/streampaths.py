"""Addresses and limits of the stream protocol, without any import.

Kept apart from `streams` so that the CLI's stream opener, which an editor starts for every connection, need
not load the codecs.
"""

RELAY_PREFIX = "/relay/"
AGENT_PATH = "/relay/v1/agent"
CLIENT_PATH = "/relay/v1/stream"
HEALTH_PATH = "/relay/healthz"
UPGRADE_PROTOCOL = "devyard-stream"
"""Value of the HTTP `Upgrade` header on both paths; the ticket travels in `Authorization: Bearer`."""

STREAM_HEAD_HEADER = "Devyard-Stream-Head"
"""Request header of a client that sends its `StreamHead` with the request: base64url of the JSON line.

The relay passes it on as the stream's first line, so that a stream is open after one round trip without
sending bytes ahead of the 101, which HTTP forbids and reverse proxies may drop.
"""

MAX_LINE_BYTES = 4096
"""Upper bound of each JSON line of the protocol, newline included."""
