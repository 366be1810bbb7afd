"""How the relay hands accepted connections to API processes: packets on a unix socket, both sides.

The relay listens (SOCK_SEQPACKET, 0600), each API process connects, says Hello with the public stream keys, and
gets one descriptor per packet. It answers Taken before it reads a byte from them, so that the relay can give a
connection to another process when the first one died with it in its hands. docs/design/processes.md
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

MAX_PACKET_BYTES = 64 * 1024
CONNECTION = b"c"
"""The packet that carries one descriptor."""


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="type"):
    """API → relay, first: who it is, and the raw Ed25519 public keys that stream tickets are signed with,
    by id.
    """

    pid: int
    stream_keys: dict[str, bytes]


class Taken(msgspec.Struct, frozen=True, tag="taken", tag_field="type"):
    """API → relay: the `count` oldest connections are mine now; I have `open_connections` in all."""

    count: int
    open_connections: int


class Draining(msgspec.Struct, frozen=True, tag="draining", tag_field="type"):
    """API → relay: no more connections, please."""


ApiPacket = Hello | Taken | Draining
_packets: msgspec.json.Decoder[ApiPacket] = msgspec.json.Decoder(ApiPacket)


class HandoverError(Exception):
    """The other process broke the protocol."""


def encode_packet(packet: ApiPacket) -> bytes:
    """The bytes of one packet."""
    return msgspec.json.encode(packet)


def decode_packet(data: bytes) -> ApiPacket:
    """The packet in these bytes. Raises HandoverError."""
    try:
        return _packets.decode(data)
    except msgspec.MsgspecError as error:
        raise HandoverError(str(error)) from None


def listen(path: Path) -> socket.socket:
    """A non-blocking listening socket at `path`, only for this user; what lay there before is replaced."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    try:
        with _short_address(path) as address:
            sock.bind(address)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    sock.listen(64)
    sock.setblocking(False)
    return sock


def connect(path: Path) -> socket.socket:
    """A non-blocking connection to the relay. Raises OSError while there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short_address(path) as address:
            sock.connect(address)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def send_connection(link: socket.socket, connection: socket.socket) -> None:
    """Passes a copy of `connection`. Raises BlockingIOError when the receiver's queue is full."""
    socket.send_fds(link, [CONNECTION], [connection.fileno()])


def receive_connections(link: socket.socket, limit: int) -> tuple[Sequence[socket.socket], bool]:
    """Up to `limit` connections that are waiting, and whether the relay's end is gone."""
    received: list[socket.socket] = []
    while len(received) < limit:
        try:
            data, fds, _flags, _address = socket.recv_fds(
                link, MAX_PACKET_BYTES, 4, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return received, False
        if not data:
            return received, True
        received.extend(socket.socket(fileno=fd) for fd in fds)
    return received, False


@contextlib.contextmanager
def _short_address(path: Path) -> Iterator[str]:
    """An address for `path` within the kernel's limit of 107 bytes, whatever the length of the directory."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
