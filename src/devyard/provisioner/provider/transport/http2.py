"""One HTTP/2 connection that carries gRPC calls with one message each way (RFC 9113, gRPC over HTTP2).

Bytes in, calls and bytes out; no socket, no clock, no task: grpc_server.py does the I/O. Each side of a stream is
open or closed; a call is complete when the peer's side is closed, and the stream is forgotten when ours is too.
Sending obeys the peer's windows. What a peer can make us hold is bounded: `MAX_MESSAGE_BYTES` a call,
`MAX_STREAMS` calls.
"""

import struct
from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

from devyard.provisioner.provider.transport.hpack import HeaderDecoder, HeaderError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_MESSAGE_BYTES = 64 << 20
"""What Terraform itself takes and sends."""
MAX_STREAMS = 128

_MAX_FRAME = 16384
_MAX_HEADER_BYTES = 64 << 10
_WINDOW = 16 << 20
_DEFAULT_WINDOW = 65535
_MAX_WINDOW = (1 << 31) - 1

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = range(
    10
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_NO_ERROR, _PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _REFUSED_STREAM, _COMPRESSION_ERROR = 0, 1, 3, 7, 9

_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4

# Indexed ":status 200"; "content-type" by its index in the static table, not indexed.
_RESPONSE_HEADERS = b"\x88\x0f\x10\x10application/grpc"

UNIMPLEMENTED, INTERNAL, INVALID = 12, 13, 3


class PeerError(Exception):
    """The peer broke the protocol: send what `take_output` has, then close."""


class Request(NamedTuple):
    """A complete call: answer it with `respond` or `refuse`."""

    stream_id: int
    path: str
    message: bytes


@dataclass(slots=True)
class _Stream:
    path: str
    send_window: int
    body: bytearray = field(default_factory=bytearray)
    unacknowledged: int = 0
    is_peer_done: bool = False
    pending: memoryview | None = None
    """What is still to be sent; None until the call is answered."""


class Http2Connection:
    """The server's side of one connection."""

    def __init__(self, paths: Container[str]) -> None:
        """`paths`: the methods that are served; a call of another is refused before its message is there."""
        self._paths = paths
        self._input = bytearray()
        self._output = bytearray()
        self._has_preface = False
        self._headers = HeaderDecoder()
        self._open_block: tuple[int, int, bytearray] | None = None
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._send_window = _DEFAULT_WINDOW
        self._peer_window = _DEFAULT_WINDOW
        self._unacknowledged = 0
        settings = struct.pack(">HIHI", _MAX_CONCURRENT_STREAMS, MAX_STREAMS, _INITIAL_WINDOW_SIZE, _WINDOW)
        self._send(_SETTINGS, 0, 0, settings)
        self._send(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - _DEFAULT_WINDOW))

    def receive(self, data: bytes) -> list[Request]:
        """Takes bytes from the peer; gives the calls that are complete now. Raises PeerError."""
        self._input += data
        try:
            return self._read_frames()
        except HeaderError as error:
            raise self._failure(_COMPRESSION_ERROR, str(error)) from None

    def respond(self, stream_id: int, message: bytes) -> None:
        """Answers a call with its message; a call that the peer has given up is passed over."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._send(_HEADERS, _END_HEADERS, stream_id, _RESPONSE_HEADERS)
        stream.pending = memoryview(struct.pack(">BI", 0, len(message)) + message)
        self._flush(stream_id, stream)

    def refuse(self, stream_id: int, status: int, text: str) -> None:
        """Answers a call with an error; `status` is one of gRPC's codes."""
        if self._streams.pop(stream_id, None) is not None:
            block = _RESPONSE_HEADERS + _trailers(status, text)
            self._send(_HEADERS, _END_HEADERS | _END_STREAM, stream_id, block)

    def say_goodbye(self) -> None:
        """Tells the peer that no further call will be answered."""
        self._send(_GOAWAY, 0, 0, struct.pack(">II", self._last_stream, _NO_ERROR))

    def take_output(self) -> bytes:
        """The bytes that have to go to the peer; each is given once."""
        output, self._output = self._output, bytearray()
        return bytes(output)

    def _read_frames(self) -> list[Request]:
        if not self._has_preface:
            if not PREFACE.startswith(self._input[: len(PREFACE)]):
                raise self._failure(_PROTOCOL_ERROR, "not HTTP/2")
            if len(self._input) < len(PREFACE):
                return []
            del self._input[: len(PREFACE)]
            self._has_preface = True
        requests: list[Request] = []
        at = 0
        while len(self._input) - at >= 9:
            length = int.from_bytes(self._input[at : at + 3])
            if length > _MAX_FRAME:
                raise self._failure(_PROTOCOL_ERROR, "a frame larger than allowed")
            if len(self._input) - at < 9 + length:
                break
            kind, flags, stream_id = struct.unpack_from(">BBI", self._input, at + 3)
            payload = bytes(self._input[at + 9 : at + 9 + length])
            at += 9 + length
            if (request := self._handle(kind, flags, stream_id & _MAX_WINDOW, payload)) is not None:
                requests.append(request)
        del self._input[:at]
        return requests

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Request | None:
        if self._open_block is not None and (kind != _CONTINUATION or stream_id != self._open_block[0]):
            raise self._failure(_PROTOCOL_ERROR, "headers that are not continued")
        if kind == _DATA:
            return self._handle_data(flags, stream_id, payload)
        if kind == _HEADERS:
            block = _unpadded(flags, payload)
            self._open_block = (stream_id, flags, bytearray(block[5:] if flags & _HAS_PRIORITY else block))
            return self._end_block(flags)
        if kind == _CONTINUATION:
            if self._open_block is None:
                raise self._failure(_PROTOCOL_ERROR, "a continuation of nothing")
            self._open_block[2].extend(payload)
            return self._end_block(flags)
        if kind == _SETTINGS:
            self._handle_settings(flags, payload)
        elif kind == _PING and not flags & _ACK:
            self._send(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            self._handle_window_update(stream_id, payload)
        elif kind == _RST_STREAM:
            self._streams.pop(stream_id, None)
        elif kind == _PUSH:
            raise self._failure(_PROTOCOL_ERROR, "a push from a client")
        return None

    def _end_block(self, flags: int) -> Request | None:
        """Reads the collected headers once they are complete."""
        assert self._open_block is not None
        stream_id, first_flags, block = self._open_block
        if len(block) > _MAX_HEADER_BYTES:
            raise self._failure(_PROTOCOL_ERROR, "headers larger than allowed")
        if not flags & _END_HEADERS:
            return None
        self._open_block = None
        headers = dict(self._headers.decode(bytes(block)))
        if stream_id in self._streams:
            return self._end_peer_side(stream_id) if first_flags & _END_STREAM else None
        if stream_id % 2 == 0 or stream_id <= self._last_stream:
            raise self._failure(_PROTOCOL_ERROR, "a stream that can't be opened")
        if len(self._streams) >= MAX_STREAMS:
            self._last_stream = stream_id
            self._send(_RST_STREAM, 0, stream_id, struct.pack(">I", _REFUSED_STREAM))
            return None
        self._last_stream = stream_id
        path = headers.get(b":path", b"").decode("latin-1")
        self._streams[stream_id] = _Stream(path, self._peer_window)
        if path not in self._paths:
            self.refuse(stream_id, UNIMPLEMENTED, f"{path} is not served here")
            return None
        return self._end_peer_side(stream_id) if first_flags & _END_STREAM else None

    def _handle_data(self, flags: int, stream_id: int, payload: bytes) -> Request | None:
        self._unacknowledged += len(payload)
        if self._unacknowledged >= _WINDOW // 2:
            self._send(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged))
            self._unacknowledged = 0
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_peer_done:
            return None
        stream.body += _unpadded(flags, payload)
        if len(stream.body) > MAX_MESSAGE_BYTES + 5:
            self.refuse(stream_id, INVALID, "the message is larger than 64 MiB")
            return None
        stream.unacknowledged += len(payload)
        if stream.unacknowledged >= _WINDOW // 2 and not flags & _END_STREAM:
            self._send(_WINDOW_UPDATE, 0, stream_id, struct.pack(">I", stream.unacknowledged))
            stream.unacknowledged = 0
        return self._end_peer_side(stream_id) if flags & _END_STREAM else None

    def _end_peer_side(self, stream_id: int) -> Request | None:
        stream = self._streams[stream_id]
        stream.is_peer_done = True
        body = bytes(stream.body)
        stream.body.clear()
        if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5]) != len(body) - 5:
            self.refuse(stream_id, UNIMPLEMENTED, "only one uncompressed message a call")
            return None
        return Request(stream_id, stream.path, body[5:])

    def _handle_settings(self, flags: int, payload: bytes) -> None:
        if flags & _ACK:
            return
        if len(payload) % 6:
            raise self._failure(_PROTOCOL_ERROR, "unreadable settings")
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                if value > _MAX_WINDOW:
                    raise self._failure(_FLOW_CONTROL_ERROR, "a window larger than allowed")
                for stream in self._streams.values():
                    stream.send_window += value - self._peer_window
                self._peer_window = value
        self._send(_SETTINGS, _ACK, 0, b"")
        self._flush_all()

    def _handle_window_update(self, stream_id: int, payload: bytes) -> None:
        increment = int.from_bytes(payload) & _MAX_WINDOW
        if stream_id == 0:
            self._send_window += increment
            if self._send_window > _MAX_WINDOW or increment == 0:
                raise self._failure(_FLOW_CONTROL_ERROR, "a window larger than allowed")
            self._flush_all()
        elif (stream := self._streams.get(stream_id)) is not None:
            stream.send_window += increment
            self._flush(stream_id, stream)

    def _flush_all(self) -> None:
        for stream_id, stream in list(self._streams.items()):
            self._flush(stream_id, stream)

    def _flush(self, stream_id: int, stream: _Stream) -> None:
        """Sends as much of an answer as the windows allow; the trailers end it."""
        if stream.pending is None:
            return
        while stream.pending:
            size = min(len(stream.pending), _MAX_FRAME, stream.send_window, self._send_window)
            if size <= 0:
                return
            self._send(_DATA, 0, stream_id, stream.pending[:size])
            stream.pending = stream.pending[size:]
            stream.send_window -= size
            self._send_window -= size
        self._send(_HEADERS, _END_HEADERS | _END_STREAM, stream_id, _trailers(0, ""))
        del self._streams[stream_id]

    def _send(self, kind: int, flags: int, stream_id: int, payload: bytes | memoryview) -> None:
        self._output += len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream_id)
        self._output += payload

    def _failure(self, code: int, reason: str) -> PeerError:
        self._send(_GOAWAY, 0, 0, struct.pack(">II", self._last_stream, code) + reason.encode())
        return PeerError(reason)


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED or not payload:
        return payload
    return payload[1 : max(1, len(payload) - payload[0])]


def _trailers(status: int, text: str) -> bytes:
    block = _literal(b"grpc-status", str(status).encode())
    if text:
        # Percent-encoded, as gRPC has it; long texts are cut so that the length fits one frame.
        safe = "".join(
            c if " " <= c <= "~" and c != "%" else "".join(f"%{b:02X}" for b in c.encode()) for c in text[:500]
        )
        block += _literal(b"grpc-message", safe.encode())
    return block


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)])
    rest = len(text) - 127
    encoded = bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    encoded.append(rest)
    return bytes(encoded)
