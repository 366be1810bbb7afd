"""The WebSocket client against the well-known library's own state machine, and against broken peers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER
from websockets.server import ServerProtocol

from devyard.agent import websocket
from devyard.agent.websocket import Closed, Event, FrameError, FrameReader, Message, Pinged, Ponged

MASK = b"\x01\x02\x03\x04"


def server_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=False)


def test_handshake_is_accepted_by_the_library() -> None:
    server = ServerProtocol()
    server.receive_data(websocket.encode_handshake("h:1", "/p", "dGhlIHNhbXBsZSBub25jZQ==", {"X-T": "v"}))
    (request,) = server.events_received()
    response = server.accept(request)  # type: ignore[arg-type]
    assert response.status_code == 101
    assert response.headers["Sec-WebSocket-Accept"] == websocket.accept_of("dGhlIHNhbXBsZSBub25jZQ==")


def test_a_header_cannot_break_out_of_its_line() -> None:
    with pytest.raises(ValueError, match="X-T"):
        websocket.encode_handshake("h", "/p", "k", {"X-T": "a\r\nEvil: 1"})


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_our_frames_are_read_by_the_library(payload: bytes, mask: bytes) -> None:
    from websockets.protocol import OPEN, Protocol

    peer = Protocol(SERVER, state=OPEN)
    peer.receive_data(websocket.encode_frame(websocket.BINARY, payload, mask))
    (frame,) = peer.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.BINARY, payload)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 40))
def test_cut_anywhere_the_events_are_the_same(payloads: list[bytes], step: int) -> None:
    data = b"".join(server_frame(2, payload) + server_frame(9, payload[:100]) for payload in payloads)
    reader = FrameReader(1000)
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += reader.feed(data[start : start + step])
    expected: list[Event] = []
    for payload in payloads:
        expected += [Message(payload), Pinged(payload[:100])]
    assert events == expected


def test_fragments_make_one_message_around_control_frames() -> None:
    reader = FrameReader(100)
    data = server_frame(2, b"ab", fin=False) + server_frame(10, b"p") + server_frame(0, b"cd")
    assert reader.feed(data) == [Ponged(b"p"), Message(b"abcd")]


def test_close_tells_code_and_reason() -> None:
    assert FrameReader(100).feed(server_frame(8, websocket.encode_close(4001, "replaced"))) == [
        Closed(4001, "replaced")
    ]
    assert FrameReader(100).feed(server_frame(8, b"")) == [Closed(1005, "")]


@pytest.mark.parametrize(
    "data",
    [
        bytes([0xC2, 0]),  # an extension's bit
        bytes([0x82, 0x81]) + MASK + b"x",  # masked by a server
        bytes([0x80, 1]) + b"x",  # a continuation of nothing
        bytes([0x02, 0, 0x82, 0]),  # a new message inside another
        bytes([0x83, 0]),  # an unknown opcode
        bytes([0x8B, 0]),  # an unknown control opcode
        bytes([0x09, 0]),  # a ping in pieces
        bytes([0x89, 126, 0, 126]) + bytes(126),  # a ping that is too long
        bytes([0x82, 126, 1, 0]),  # larger than allowed, told by its header alone
        bytes([0x02, 90]) + bytes(90) + bytes([0x80, 90]) + bytes(90),  # too large in sum
    ],
)
def test_a_peer_that_breaks_the_rules(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader(100).feed(data)
