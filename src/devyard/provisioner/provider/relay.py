"""A unix socket whose connections are passed on to another one, each under a name of its own.

grpcio calls the peer of every connection on a unix socket `unix:`; the provider has to tell them apart, because
each carries the configuration of one `provider` block. So Terraform connects here, and the connection onwards has
a name that the kernel chose. Invariant: bytes pass unchanged, an end that is slow holds up the other, and when one
end goes the other goes too. docs/design/provider.md has the reasons.
"""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import structlog

MAX_CONNECTIONS = 1024

_BACKLOG = 128
_log = structlog.get_logger(__name__)


class Peer(NamedTuple):
    """A connection: its `name` as grpcio gives it, and the process that opened it."""

    name: str
    pid: int


class Relay:
    """Takes connections on `listener` and passes them on to the socket at `target`.

    `on_open` is called before the first byte passes, `on_close` after the last. With `tls` it is taken off here.
    """

    def __init__(
        self,
        listener: socket.socket,
        target: Path,
        on_open: Callable[[Peer], None],
        on_close: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = listener
        self._target = target
        self._on_open = on_open
        self._on_close = on_close
        self._tls = tls
        self._open: set[_End] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to accept; connections made before have waited."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, sock=self._listener, ssl=self._tls)

    async def close(self) -> None:
        """Ends every connection and stops accepting."""
        if self._server:
            self._server.close()
        for end in list(self._open):
            end.transport.abort()

    def _accept(self) -> "_Accepted":
        return _Accepted(self)

    def connect(self, accepted: "_Accepted") -> None:
        """Opens the way on for a connection that came in."""
        if len(self._open) >= 2 * MAX_CONNECTIONS:
            _log.warning("too many connections to the provider", limit=MAX_CONNECTIONS)
            accepted.transport.abort()
            return
        onwards = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            onwards.bind(b"")  # the kernel chooses a free name (unix(7), autobind)
            onwards.setblocking(False)
            onwards.connect(str(self._target))
        except OSError as error:  # the server is gone, or its queue is full
            _log.warning("provider can't be reached", why=str(error))
            onwards.close()
            accepted.transport.abort()
            return
        name = peer_name(onwards.getsockname())
        self._on_open(Peer(name, _peer_pid(accepted.transport)))
        accepted.joined = asyncio.ensure_future(self._join(accepted, onwards, name))

    async def _join(self, accepted: "_Accepted", onwards: socket.socket, name: str) -> None:
        end = _Onwards(self, name)
        self._open.update((accepted, end))
        await asyncio.get_running_loop().create_unix_connection(lambda: end, sock=onwards)
        if accepted.is_lost:
            end.transport.abort()
            return
        end.transport.write(accepted.early)
        end.other, accepted.other = accepted, end
        accepted.transport.resume_reading()

    def forget(self, end: "_End", name: str) -> None:
        """An end is gone."""
        self._open.discard(end)
        if name:
            self._on_close(name)


class _End(asyncio.Protocol):
    """One side: what it receives goes out at the `other`."""

    transport: asyncio.Transport
    other: "_End | None" = None
    is_lost = False

    def __init__(self, relay: Relay, name: str = "") -> None:
        self._relay = relay
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        is_half_open = self.other is not None and self.other.transport.can_write_eof()
        if self.other is not None and is_half_open and self.transport.can_write_eof():
            self.other.transport.write_eof()
            return True
        return False

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        other, self.other = self.other, None
        if other is not None and not other.is_lost:
            other.transport.close()
        self._relay.forget(self, self._name)


class _Accepted(_End):
    """The side towards Terraform."""

    joined: "asyncio.Future[None] | None" = None
    early = b""
    """What came before the way on was open: uvloop reads once more after pause_reading."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._relay.connect(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)


class _Onwards(_End):
    """The side towards the server, which has the name."""


def listen(path: Path) -> socket.socket:
    """A listening socket at `path` that only this user can open."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def peer_name(address: bytes | str) -> str:
    """The name that grpcio gives a peer at this address of a unix socket."""
    raw = address.encode() if isinstance(address, str) else address
    return f"unix-abstract:{raw[1:].decode('ascii', 'replace')}"


def _peer_pid(transport: asyncio.Transport) -> int:
    credentials = transport.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    return int(struct.unpack("3i", credentials)[0])
