"""Opens one stream to an agent with blocking sockets: what `devyard ssh --stdio` runs for each connection.

Imports the standard library's cheap parts only (an editor starts it per connection; tests/unit/net holds the
budget). The asyncio twin is dial.py.
"""

import socket
from typing import TYPE_CHECKING, NamedTuple

from devyard.net.address import RelayAddress, parse_relay_url
from devyard.net.requesthead import MAX_HEAD_BYTES, HeadError, parse_response_head
from devyard.net.upgrade import (
    MAX_ERROR_BODY_BYTES,
    StreamError,
    StreamHeadLike,
    check_reply,
    encode_upgrade,
    read_refusal,
)
from devyard.wire.streampaths import CLIENT_PATH, MAX_LINE_BYTES

if TYPE_CHECKING:
    import ssl

KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 10))
"""A silent peer is given up after six minutes: long enough for a lid that is closed for a moment."""


class Head(NamedTuple):
    """What a stream is for, as wire.streams.StreamHead, without its import cost."""

    kind: str
    host: str = ""
    port: int = 0


def open_stream(
    url: str,
    ticket: str,
    head: StreamHeadLike,
    *,
    timeout_s: float = 15.0,
    tls: "ssl.SSLContext | None" = None,
) -> socket.socket:
    """A connected blocking socket whose every byte from here on is the agent's.

    `url` is a relay's base URL, `ticket` opens it, `timeout_s` bounds the opening only. Over https the
    socket is an `ssl.SSLSocket` (no half-close there: TLS has none). Raises StreamError, RelayRefusedError,
    AgentRefusedError, ValueError for a malformed URL.
    """
    address = parse_relay_url(url)
    try:
        sock = socket.create_connection((address.host, address.port), timeout=timeout_s)
    except OSError as error:
        raise StreamError(f"The relay at {url} cannot be reached: {error}.") from None
    try:
        tune(sock)
        if address.is_tls:
            sock = _wrap_tls(sock, address, tls)
        sock.sendall(encode_upgrade(address, CLIENT_PATH, ticket, head))
        _read_upgrade(sock)
        check_reply(read_through(sock, b"\n", MAX_LINE_BYTES))
        sock.settimeout(None)
    except TimeoutError:
        sock.close()
        raise StreamError(f"The relay at {url} did not open the stream within {timeout_s:g} s.") from None
    except (OSError, HeadError) as error:
        sock.close()
        raise StreamError(f"The stream through {url} failed to open: {error}.") from None
    except BaseException:
        sock.close()
        raise
    return sock


def tune(sock: socket.socket) -> None:
    """No Nagle delay, and keepalive probes that outlive a short sleep."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def read_through(sock: socket.socket, terminator: bytes, limit: int) -> bytes:
    """Bytes up to and with `terminator`, and not one more. Raises StreamError when it ends or exceeds
    `limit`.
    """
    can_peek = type(sock) is socket.socket
    got = b""
    while len(got) < limit:
        chunk = sock.recv(limit, socket.MSG_PEEK) if can_peek else sock.recv(1)
        if not chunk:
            raise StreamError("The relay ended the connection before the stream was open.")
        seen = got + chunk
        end = seen.find(terminator)
        take = len(chunk) if end < 0 else end + len(terminator) - len(got)
        if can_peek:
            sock.recv(take)
        got += chunk[:take]
        if end >= 0:
            return got
    raise StreamError("The relay's answer is too long.")


def _wrap_tls(sock: socket.socket, address: RelayAddress, context: "ssl.SSLContext | None") -> socket.socket:
    import ssl

    return (context or ssl.create_default_context()).wrap_socket(sock, server_hostname=address.host)


def _read_upgrade(sock: socket.socket) -> None:
    head = parse_response_head(read_through(sock, b"\r\n\r\n", MAX_HEAD_BYTES))
    if head is None:
        raise StreamError("The relay's answer is malformed.")
    if head.status == 101:
        return
    body = b""
    length = head.headers.get("content-length", "")
    want = min(int(length), MAX_ERROR_BODY_BYTES) if length.isdigit() else MAX_ERROR_BODY_BYTES
    while len(body) < want:
        chunk = sock.recv(want - len(body))
        if not chunk:
            break
        body += chunk
    raise read_refusal(head, body)
