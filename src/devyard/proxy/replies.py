"""Plain HTTP answers of the relay itself, in the API's error shape, on raw sockets.

The peer always gets to read the answer: the connection is half-closed, then emptied for a bounded time, since a
close over unread bytes would be a reset that destroys it.
"""

import asyncio
import contextlib
import http
import json
import socket
from collections.abc import Mapping

from devyard.net import rawsock
from devyard.wire.streams import UPGRADE_PROTOCOL

LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024

SWITCHING = (
    f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE_PROTOCOL}\r\n\r\n"
).encode("ascii")


def encode_reply(status: int, body: Mapping[str, str], headers: Mapping[str, str] | None = None) -> bytes:
    """A whole JSON response that ends the connection."""
    payload = json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + payload


async def reply_and_close(
    sock: socket.socket, status: int, message: str, headers: Mapping[str, str] | None = None
) -> None:
    """Sends `{"message": …}` with this status and closes the connection."""
    await send_and_close(sock, encode_reply(status, {"message": message}, headers))


async def send_and_close(sock: socket.socket, data: bytes) -> None:
    """Sends `data`, waits for the peer to have read it, closes."""
    with contextlib.suppress(OSError, TimeoutError), contextlib.closing(sock):
        async with asyncio.timeout(LINGER_S):
            await rawsock.send_all(sock, data)
            sock.shutdown(socket.SHUT_WR)
            left = LINGER_BYTES
            while left > 0 and await rawsock.peek(sock, 1):
                left -= len(sock.recv(64 * 1024))
