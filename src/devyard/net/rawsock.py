"""Waits and exact reads on non-blocking sockets under asyncio, so that no payload byte leaves the kernel
early.

`loop.sock_recv` cannot peek, and a StreamReader reads ahead; a socket that is spliced or handed over later
needs neither. Used by dial.py and the relay.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable

from devyard.net.address import RelayAddress
from devyard.net.client import tune
from devyard.net.upgrade import StreamError

PEEK_BYTES = 4096


async def wait_readable(sock: socket.socket) -> None:
    """Returns once `sock` has bytes or its end. The socket must be non-blocking and without a reader."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_reader(sock.fileno(), _wake, future)
    try:
        await future
    finally:
        loop.remove_reader(sock.fileno())


async def wait_writable(sock: socket.socket) -> None:
    """Returns once `sock` takes bytes. The socket must be non-blocking and without a writer."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_writer(sock.fileno(), _wake, future)
    try:
        await future
    finally:
        loop.remove_writer(sock.fileno())


async def peek(sock: socket.socket, limit: int = PEEK_BYTES) -> bytes:
    """At least one byte without consuming it; empty at the end."""
    while True:
        try:
            return sock.recv(limit, socket.MSG_PEEK)
        except BlockingIOError:
            await wait_readable(sock)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Writes everything, waiting where the peer does not take it."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await wait_writable(sock)


async def read_through(sock: socket.socket, terminator: bytes, limit: int) -> bytes:
    """Bytes up to and with `terminator`, and not one more. Raises StreamError when it ends or exceeds
    `limit`.
    """
    got = b""
    while len(got) < limit:
        chunk = await peek(sock, limit)
        if not chunk:
            raise StreamError("The relay ended the connection before the stream was open.")
        end = (got + chunk).find(terminator)
        take = len(chunk) if end < 0 else end + len(terminator) - len(got)
        got += sock.recv(take)
        if end >= 0:
            return got
    raise StreamError("The relay's answer is too long.")


async def connect(address: RelayAddress, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connected non-blocking socket. For https it is one end of a socket pair whose other end a task
    encrypts.
    """
    if address.is_tls:
        return await _connect_tls(address, tls or ssl.create_default_context())
    return await connect_tcp(address.host, address.port, tune)


async def connect_tcp(host: str, port: int, prepare: Callable[[socket.socket], None]) -> socket.socket:
    """A connected non-blocking socket, options set by `prepare`; every address of the name is tried (`localhost`
    may be ::1 only). Raises the last address's OSError.
    """
    loop = asyncio.get_running_loop()
    candidates = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, where in candidates:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            prepare(sock)
            await loop.sock_connect(sock, where)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _connect_tls(address: RelayAddress, context: ssl.SSLContext) -> socket.socket:
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=address.host
    )
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    local_reader, local_writer = await asyncio.open_connection(sock=theirs)
    task = asyncio.ensure_future(_bridge(reader, writer, local_reader, local_writer))
    _bridges.add(task)
    task.add_done_callback(_bridges.discard)
    return ours


async def _bridge(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    local_reader: asyncio.StreamReader,
    local_writer: asyncio.StreamWriter,
) -> None:
    """TLS has no half-close: the end of the local side ends the connection, the end of the remote side
    passes on.
    """
    outward = asyncio.ensure_future(_copy(local_reader, writer))
    inward = asyncio.ensure_future(_copy(reader, local_writer))
    async with _closing(writer), _closing(local_writer):
        try:
            await asyncio.wait({outward, inward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            outward.cancel()
            inward.cancel()
            await asyncio.gather(outward, inward, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(64 * 1024):
            writer.write(chunk)
            await writer.drain()


@contextlib.asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


# The loop keeps only weak references to tasks; these live until their connection ends.
_bridges: set["asyncio.Future[None]"] = set()
