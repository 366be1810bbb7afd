"""Dials a relay under asyncio: an agent's spare connections, and a client's streams (`port-forward`).

Everything returned is a plain non-blocking `socket.socket` of which not one payload byte has been read, fit
for `asyncssh`, `splice` or `asyncio.open_connection(sock=…)`. The blocking twin for the CLI is client.py.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from devyard.net import rawsock
from devyard.net.address import RelayAddress, parse_relay_url
from devyard.net.framing import AgentSide, Greeted, Opened, PeerError, Send, encode_line
from devyard.net.requesthead import MAX_HEAD_BYTES, HeadError, parse_response_head
from devyard.net.upgrade import (
    MAX_ERROR_BODY_BYTES,
    StreamError,
    StreamHeadLike,
    check_reply,
    encode_upgrade,
    read_refusal,
)
from devyard.wire.streams import AGENT_PATH, CLIENT_PATH, MAX_LINE_BYTES, StreamHead, StreamReply

SILENCE_TIMEOUT_S = 45.0
"""A relay pings every 15 s; a spare connection that hears nothing for this long is dead."""
GREETING_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class OpenedStream:
    """A client's stream as the agent gets it. Answer with `accept` or `refuse`, then the socket is the
    stream.
    """

    sock: socket.socket
    head: StreamHead
    stream_id: str
    user_id: UUID | None

    async def accept(self) -> socket.socket:
        """Tells the client that the payload follows; the socket is the caller's from here on."""
        await rawsock.send_all(self.sock, encode_line(StreamReply()))
        return self.sock

    async def refuse(self, error: str) -> None:
        """Tells the client why not, in words for its user, and ends the stream."""
        try:
            await rawsock.send_all(self.sock, encode_line(StreamReply(error=error[:1000])))
        finally:
            self.sock.close()


class Spare:
    """An idle connection to a relay that waits for a client. Use `wait_open` once, or `close`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._side = AgentSide()

    async def wait_open(self) -> OpenedStream:
        """Answers pings until a client is attached. Raises StreamError when the connection is lost."""
        opened: Opened | None = None
        try:
            while True:
                async with asyncio.timeout(SILENCE_TIMEOUT_S if opened is None else GREETING_TIMEOUT_S):
                    data = await rawsock.peek(self._sock)
                    if not data:
                        raise StreamError("The relay ended a spare connection.")
                    used, events = self._side.receive(data)
                    self._sock.recv(used)
                    for event in events:
                        if isinstance(event, Send):
                            await rawsock.send_all(self._sock, event.data)
                        elif isinstance(event, Opened):
                            opened = event
                        elif isinstance(event, Greeted) and opened is not None:
                            return OpenedStream(self._sock, event.head, opened.stream_id, opened.user_id)
        except TimeoutError:
            self._sock.close()
            raise StreamError("The relay fell silent.") from None
        except (OSError, PeerError) as error:
            self._sock.close()
            raise StreamError(f"A spare connection was lost: {error}.") from None
        except BaseException:
            self._sock.close()
            raise

    def close(self) -> None:
        """Gives the connection up."""
        self._sock.close()


async def dial_agent_spare(
    url: str, ticket: str, *, timeout_s: float = 15.0, tls: ssl.SSLContext | None = None
) -> Spare:
    """One spare connection of this agent at the relay `url`. Raises StreamError, RelayRefusedError,
    ValueError.
    """
    return Spare(await _dial(parse_relay_url(url), AGENT_PATH, ticket, None, timeout_s, tls))


async def serve_spare(
    url: str,
    ticket: str,
    on_open: Callable[[OpenedStream], Awaitable[None]],
    *,
    on_taken: Callable[[], None] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Dials one spare, serves one stream on it, returns at its end; `on_taken` says: time to dial the next
    one.
    """
    spare = await dial_agent_spare(url, ticket, tls=tls)
    opened = await spare.wait_open()
    if on_taken is not None:
        on_taken()
    try:
        await on_open(opened)
    finally:
        opened.sock.close()


async def open_stream(
    url: str,
    ticket: str,
    head: StreamHeadLike,
    *,
    timeout_s: float = 15.0,
    tls: ssl.SSLContext | None = None,
) -> socket.socket:
    """As client.open_stream, but a non-blocking socket, also over https."""
    sock = await _dial(parse_relay_url(url), CLIENT_PATH, ticket, head, timeout_s, tls)
    try:
        async with asyncio.timeout(timeout_s):
            check_reply(await rawsock.read_through(sock, b"\n", MAX_LINE_BYTES))
    except TimeoutError:
        sock.close()
        raise StreamError(f"The agent did not answer within {timeout_s:g} s.") from None
    except OSError as error:
        sock.close()
        raise StreamError(f"The stream through {url} failed to open: {error}.") from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial(
    address: RelayAddress,
    path: str,
    ticket: str,
    head: StreamHeadLike | None,
    timeout_s: float,
    tls: ssl.SSLContext | None,
) -> socket.socket:
    request = encode_upgrade(address, path, ticket, head)
    try:
        async with asyncio.timeout(timeout_s):
            sock = await rawsock.connect(address, tls)
            try:
                await rawsock.send_all(sock, request)
                await _read_upgrade(sock)
            except BaseException:
                sock.close()
                raise
            return sock
    except TimeoutError:
        raise StreamError(f"The relay at {address.authority} did not answer within {timeout_s:g} s.") from None
    except (OSError, HeadError) as error:
        raise StreamError(f"The relay at {address.authority} cannot be reached: {error}.") from None


async def _read_upgrade(sock: socket.socket) -> None:
    head = parse_response_head(await rawsock.read_through(sock, b"\r\n\r\n", MAX_HEAD_BYTES))
    if head is None:
        raise StreamError("The relay's answer is malformed.")
    if head.status == 101:
        return
    body = b""
    length = head.headers.get("content-length", "")
    want = min(int(length), MAX_ERROR_BODY_BYTES) if length.isdigit() else MAX_ERROR_BODY_BYTES
    while len(body) < want and await rawsock.peek(sock):
        body += sock.recv(want - len(body))
    raise read_refusal(head, body)
