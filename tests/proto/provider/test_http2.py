"""The HTTP/2 side of the provider: bytes in, calls and bytes out, with no socket."""

import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.provisioner.provider.transport.hpack import HeaderDecoder, HeaderError, decode_huffman
from devyard.provisioner.provider.transport.http2 import (
    MAX_STREAMS,
    PREFACE,
    Http2Connection,
    PeerError,
    Request,
)

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
PATH = "/tfplugin5.Provider/Stop"


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream_id) + payload


def frames(data: bytes) -> list[Frame]:
    found = []
    while data:
        length = int.from_bytes(data[:3])
        found.append(Frame(data[3], data[4], int.from_bytes(data[5:9]), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def path_header(path: str = PATH) -> bytes:
    return b"\x04" + bytes([len(path)]) + path.encode()


def message(text: bytes) -> bytes:
    return b"\x00" + len(text).to_bytes(4) + text


def call(stream_id: int, text: bytes, path: str = PATH) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, path_header(path)) + frame(
        DATA, END_STREAM, stream_id, message(text)
    )


def connect(window: int = 65535) -> Http2Connection:
    connection = Http2Connection({PATH})
    settings = struct.pack(">HI", 4, window)
    assert connection.receive(PREFACE + frame(SETTINGS, 0, 0, settings)) == []
    kinds = [(each.kind, each.flags) for each in frames(connection.take_output())]
    assert kinds == [(SETTINGS, 0), (WINDOW_UPDATE, 0), (SETTINGS, ACK)]
    return connection


def test_a_call_and_its_answer() -> None:
    connection = connect()
    assert connection.receive(call(1, b"ask")) == [Request(1, PATH, b"ask")]
    connection.respond(1, b"answer")
    head, data, tail = frames(connection.take_output())
    assert (head.kind, head.flags, head.stream_id) == (HEADERS, END_HEADERS, 1)
    assert HeaderDecoder().decode(head.payload) == [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
    ]
    assert data == Frame(DATA, 0, 1, message(b"answer"))
    assert tail.flags == END_HEADERS | END_STREAM
    assert HeaderDecoder().decode(tail.payload) == [(b"grpc-status", b"0")]


def test_an_unknown_method_is_refused_before_its_message() -> None:
    connection = connect()
    assert connection.receive(frame(HEADERS, END_HEADERS, 1, path_header("/x/y"))) == []
    (refusal,) = frames(connection.take_output())
    headers = dict(HeaderDecoder().decode(refusal.payload))
    assert headers[b"grpc-status"] == b"12"
    assert refusal.flags & END_STREAM
    assert connection.receive(frame(DATA, END_STREAM, 1, message(b""))) == []


def test_headers_in_pieces_with_padding_and_priority() -> None:
    connection = connect()
    header = path_header()
    first = b"\x02" + b"\x00\x00\x00\x00\x10" + header[:7] + b"\x00\x00"
    data = (
        frame(HEADERS, PADDED | PRIORITY, 1, first)
        + frame(CONTINUATION, 0, 1, header[7:9])
        + frame(CONTINUATION, END_HEADERS, 1, header[9:])
        + frame(DATA, PADDED | END_STREAM, 1, b"\x03" + message(b"x") + b"\x00\x00\x00")
    )
    assert connection.receive(data) == [Request(1, PATH, b"x")]


@given(st.lists(st.integers(1, 40), max_size=40))
def test_bytes_may_come_in_any_pieces(sizes: list[int]) -> None:
    data = (
        PREFACE + frame(SETTINGS, 0, 0, b"") + call(1, b"one") + frame(PING, 0, 0, b"12345678") + call(3, b"two")
    )
    connection = Http2Connection({PATH})
    requests: list[Request] = []
    for size in sizes:
        requests += connection.receive(data[:size])
        data = data[size:]
    requests += connection.receive(data)
    assert requests == [Request(1, PATH, b"one"), Request(3, PATH, b"two")]
    assert Frame(PING, ACK, 0, b"12345678") in frames(connection.take_output())


def test_an_answer_waits_for_the_windows() -> None:
    connection = connect(window=10)
    connection.receive(call(1, b""))
    connection.respond(1, b"a" * 100_000)
    assert [len(each.payload) for each in frames(connection.take_output()) if each.kind == DATA] == [10]
    connection.receive(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 20)))
    assert [len(each.payload) for each in frames(connection.take_output())] == [20]
    connection.receive(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)))
    sent = [len(each.payload) for each in frames(connection.take_output()) if each.kind == DATA]
    assert sum(sent) == 65535 - 30
    assert max(sent) == 16384
    connection.receive(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))
    *rest, trailers = frames(connection.take_output())
    assert 30 + sum(sent) + sum(len(each.payload) for each in rest) == 100_005
    assert trailers.flags & END_STREAM


def test_received_bytes_are_acknowledged() -> None:
    connection = connect()
    connection.receive(frame(HEADERS, END_HEADERS, 1, path_header()))
    body = message(b"b" * (20 << 20))
    for start in range(0, len(body), 16384):
        piece = body[start : start + 16384]
        is_last = start + 16384 >= len(body)
        requests = connection.receive(frame(DATA, END_STREAM if is_last else 0, 1, piece))
    assert len(requests[0].message) == 20 << 20
    updates = [each for each in frames(connection.take_output()) if each.kind == WINDOW_UPDATE]
    assert {each.stream_id for each in updates} == {0, 1}
    assert sum(int.from_bytes(each.payload) for each in updates if each.stream_id == 0) >= 16 << 20


def test_a_message_beyond_the_limit_is_refused() -> None:
    connection = connect()
    connection.receive(frame(HEADERS, END_HEADERS, 1, path_header()))
    for _ in range((64 << 20) // 16384 + 2):
        connection.receive(frame(DATA, 0, 1, b"c" * 16384))
    refusal = next(each for each in frames(connection.take_output()) if each.kind == HEADERS)
    assert dict(HeaderDecoder().decode(refusal.payload))[b"grpc-status"] == b"3"


def test_a_call_given_up_is_not_answered() -> None:
    connection = connect()
    connection.receive(call(1, b""))
    connection.receive(frame(RST_STREAM, 0, 1, b"\x00\x00\x00\x08"))
    connection.respond(1, b"late")
    connection.refuse(1, 13, "late")
    assert connection.take_output() == b""


def test_calls_beyond_the_limit_are_turned_away() -> None:
    connection = connect()
    for number in range(MAX_STREAMS + 1):
        connection.receive(frame(HEADERS, END_HEADERS, 2 * number + 1, path_header()))
    assert frames(connection.take_output()) == [Frame(RST_STREAM, 0, 2 * MAX_STREAMS + 1, b"\x00\x00\x00\x07")]


def test_a_refusal_carries_its_text() -> None:
    connection = connect()
    connection.receive(call(1, b""))
    connection.refuse(1, 13, "50% ä " + "x" * 200)
    (refusal,) = frames(connection.take_output())
    headers = dict(HeaderDecoder().decode(refusal.payload))
    assert headers[b"grpc-message"] == b"50%25 %C3%A4 " + b"x" * 200


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        PREFACE + frame(HEADERS, END_HEADERS, 2, path_header()),
        PREFACE + call(3, b"") + frame(HEADERS, END_HEADERS, 1, path_header()),
        PREFACE + frame(HEADERS, 0, 1, path_header()) + frame(PING, 0, 0, b"12345678"),
        PREFACE + frame(CONTINUATION, END_HEADERS, 1, path_header()),
        PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff"),
        PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xbe"),
        PREFACE + frame(SETTINGS, 0, 0, b"12345"),
        PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
        PREFACE + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        PREFACE + frame(5, 0, 1, b""),
        PREFACE + frame(HEADERS, 0, 1, b"x" * 16384) + frame(CONTINUATION, 0, 1, b"x" * 16384) * 4,
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told_and_left(data: bytes) -> None:
    connection = Http2Connection({PATH})
    with pytest.raises(PeerError):
        connection.receive(data)
    assert frames(connection.take_output())[-1].kind == GOAWAY


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.integers(0, 9),
    st.binary(max_size=30) | st.just(path_header()) | st.just(message(b"m")),
)


@given(st.lists(FRAMES, max_size=12))
def test_any_frames_end_in_calls_or_in_peer_error(sent: list[bytes]) -> None:
    connection = Http2Connection({PATH})
    try:
        for request in connection.receive(PREFACE + b"".join(sent)):
            connection.respond(request.stream_id, b"ok")
    except PeerError:
        pass
    frames(connection.take_output())


def test_headers_as_in_the_rfc() -> None:
    """RFC 7541, C.4: three requests with Huffman codes that share one table."""
    decoder = HeaderDecoder()
    first = decoder.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))
    assert first[-1] == (b":authority", b"www.example.com")
    second = decoder.decode(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second[-2:] == [(b":authority", b"www.example.com"), (b"cache-control", b"no-cache")]
    third = decoder.decode(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))
    assert third == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ]


def test_the_table_forgets_the_oldest() -> None:
    decoder = HeaderDecoder()
    long = b"v" * 100
    for name in range(40):
        decoder.decode(b"\x40\x01" + bytes([65 + name]) + b"\x64" + long)
    assert decoder.decode(b"\xbe") == [(bytes([65 + 39]), long)]
    kept = 4096 // (1 + 100 + 32)
    assert decoder.decode(bytes([0x80 | 62 + kept - 1])) == [(bytes([65 + 40 - kept]), long)]
    with pytest.raises(HeaderError):
        decoder.decode(bytes([0x80 | 62 + kept]))
    assert decoder.decode(b"\x20") == []
    with pytest.raises(HeaderError):
        decoder.decode(b"\xbe")


@pytest.mark.parametrize("block", ["80", "40", "4001", "0085ff", "3fe21f", "0081ff00", "ffffffffffff"])
def test_unreadable_headers(block: str) -> None:
    with pytest.raises(HeaderError):
        HeaderDecoder().decode(bytes.fromhex(block))


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for attempt in (HeaderDecoder().decode, decode_huffman):
        try:
            attempt(data)
        except HeaderError:
            pass
