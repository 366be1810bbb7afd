"""The client half of a WebSocket as pure functions and one state machine: bytes in, events out. RFC 6455.

Written here rather than imported because a library costs a third of the agent's whole start (its import
chain reads package metadata); tests/proto/agent holds it against that library's server. Only what the control
link needs: one binary message at a time, no extensions. I/O is in link.py.
"""

import hashlib
import os
from base64 import b64encode
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FrameError(Exception):
    """The peer broke the protocol; the connection is of no further use."""


@dataclass(frozen=True)
class Message:
    """One whole message."""

    data: bytes


@dataclass(frozen=True)
class Pinged:
    """Answer with a pong of the same payload."""

    payload: bytes


@dataclass(frozen=True)
class Ponged:
    """The answer to a ping of ours."""

    payload: bytes


@dataclass(frozen=True)
class Closed:
    """The peer ends the connection; 1005 stands for no code."""

    code: int
    reason: str


Event = Message | Pinged | Ponged | Closed


def make_key() -> str:
    """A fresh value of Sec-WebSocket-Key."""
    return b64encode(os.urandom(16)).decode("ascii")


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept value that answers `key`."""
    # SHA-1 is what the RFC prescribes; it guards against confusion, not against attack.
    return b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def encode_handshake(authority: str, target: str, key: str, headers: dict[str, str]) -> bytes:
    """The upgrade request. Raises ValueError for a header that would break out of its line."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {authority}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    ]
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the value of header {name} is malformed")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def encode_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One final frame, masked with the four bytes of `mask` as a client must."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + mask + _mask(payload, mask)


def encode_close(code: int, reason: str = "") -> bytes:
    """The payload of a close frame."""
    return code.to_bytes(2, "big") + reason.encode()[:120]


class FrameReader:
    """Takes the server's bytes and gives events; keeps at most one unfinished message of `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._is_open = False

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, in order. Raises FrameError."""
        self._buffer += data
        events: list[Event] = []
        while (frame := self._take_frame()) is not None:
            event = self._on_frame(*frame)
            if event is not None:
                events.append(event)
        return events

    def _take_frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70 or buffer[1] & 0x80:
            raise FrameError("a frame uses an extension or is masked")
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > self._max_bytes:
            raise FrameError(f"a frame of {size} bytes is too large")
        if len(buffer) < start + size:
            return None
        is_final, opcode, payload = bool(buffer[0] & 0x80), buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return is_final, opcode, payload

    def _on_frame(self, is_final: bool, opcode: int, payload: bytes) -> Event | None:
        if opcode & 0x8:
            return _on_control(is_final, opcode, payload)
        if opcode not in (CONTINUATION, TEXT, BINARY) or (opcode == CONTINUATION) is not self._is_open:
            raise FrameError("frames are out of order")
        self._parts.append(payload)
        self._parts_bytes += len(payload)
        if self._parts_bytes > self._max_bytes or len(self._parts) > 1024:
            raise FrameError("a message is too large")
        self._is_open = not is_final
        if self._is_open:
            return None
        message = Message(b"".join(self._parts))
        self._parts, self._parts_bytes = [], 0
        return message


def _on_control(is_final: bool, opcode: int, payload: bytes) -> Event:
    if not is_final or len(payload) > 125:
        raise FrameError("a control frame is malformed")
    if opcode == PING:
        return Pinged(payload)
    if opcode == PONG:
        return Ponged(payload)
    if opcode == CLOSE:
        if len(payload) < 2:
            return Closed(1005, "")
        return Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace"))
    raise FrameError(f"unknown opcode {opcode}")


def _mask(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
