"""The HTTP upgrade that agents and clients send to a relay, and their shared errors. Pure, standard library
only.

Called by client.py (blocking) and dial.py (asyncio).
"""

import json
from binascii import b2a_base64
from typing import Protocol

from devyard.net.address import RelayAddress
from devyard.net.requesthead import ResponseHead
from devyard.wire.streampaths import STREAM_HEAD_HEADER, UPGRADE_PROTOCOL

MAX_ERROR_BODY_BYTES = 64 * 1024


class StreamError(Exception):
    """No stream: the relay could not be reached, or broke the protocol. The message is fit for a user."""


class RelayRefusedError(StreamError):
    """The relay answered with an HTTP error; `status` is its status (401 ticket, 429 limit, 503 no agent)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AgentRefusedError(StreamError):
    """The agent answered, and cannot serve this stream (nothing listens on the port, unknown kind)."""


class StreamHeadLike(Protocol):
    """What a stream is for: wire.streams.StreamHead, or client.Head where msgspec is too dear to import."""

    @property
    def kind(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


def encode_head_line(head: StreamHeadLike) -> bytes:
    """The StreamHead line of the greeting, newline included."""
    fields: dict[str, str | int] = {"kind": head.kind}
    if head.host:
        fields["host"] = head.host
    if head.port:
        fields["port"] = head.port
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def encode_upgrade(address: RelayAddress, path: str, ticket: str, head: StreamHeadLike | None = None) -> bytes:
    """The request that turns a connection into a spare or a stream. Raises ValueError for a malformed
    ticket.
    """
    if not ticket.isascii() or not ticket.isprintable() or " " in ticket:
        raise ValueError("the stream ticket is malformed")
    lines = [
        f"GET {address.prefix}{path} HTTP/1.1",
        f"Host: {address.authority}",
        "Connection: Upgrade",
        f"Upgrade: {UPGRADE_PROTOCOL}",
        f"Authorization: Bearer {ticket}",
    ]
    if head is not None:
        line = b2a_base64(encode_head_line(head), newline=False).translate(_URL_SAFE).rstrip(b"=")
        lines.append(f"{STREAM_HEAD_HEADER}: {line.decode('ascii')}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def read_refusal(head: ResponseHead, body: bytes) -> RelayRefusedError:
    """The error in an answer that is not 101."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = None
    if not isinstance(message, str) or not message:
        message = f"The relay answered with HTTP status {head.status}."
    return RelayRefusedError(head.status, message)


def check_reply(line: bytes) -> None:
    """Accepts the agent's StreamReply line. Raises AgentRefusedError or StreamError."""
    try:
        error = json.loads(line).get("error", "")
    except (ValueError, AttributeError):
        raise StreamError("The agent's answer is malformed; is it of the same version?") from None
    if error:
        raise AgentRefusedError(str(error))


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
