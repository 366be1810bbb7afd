"""The spare connection's line protocol, both halves against each other, cut at any byte."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.net.framing import (
    PING_INTERVAL_S,
    PONG_TIMEOUT_S,
    Accepted,
    AgentSide,
    Greeted,
    LineBuffer,
    Opened,
    PeerError,
    Ponged,
    RelaySide,
    ReplyReader,
    Send,
    State,
    encode_line,
)
from devyard.wire.streams import MAX_LINE_BYTES, StreamHead, StreamReply

USER = uuid.UUID(int=7)
cuts = st.lists(st.integers(0, 5000), max_size=12)


def feed(side, data, cut_points, *more):
    """Feeds `data` in pieces as MSG_PEEK would show them; what is left over belongs to the stream."""
    events, position = [], 0
    ends = sorted({min(cut, len(data)) for cut in cut_points} | {len(data)})
    for end in ends:
        if end <= position:
            continue
        used, new = side.receive(data[position:end], *more)
        position += used
        events += new
    return events, data[position:]


@given(cuts, st.binary(max_size=300))
def test_a_stream_opens_and_no_payload_byte_is_touched(cut_points, payload):
    relay, agent = RelaySide(0.0), AgentSide()
    head = StreamHead(kind="tcp", host="localhost", port=80)
    to_agent = relay.ping(1.0) + relay.open("s1", USER) + encode_line(head) + payload
    events, left = feed(agent, to_agent, cut_points)
    assert left == payload
    assert events[0] == Send(b'{"type":"pong"}\n')
    assert events[2:] == [Opened("s1", USER), Greeted(head)]
    assert agent.state is State.STREAM
    to_relay = b"".join(event.data for event in events if isinstance(event, Send)) + payload
    relay_events, left = feed(relay, to_relay, cut_points, 2.0)
    assert relay_events == [Ponged(), Accepted()]
    assert left == payload
    assert relay.state is State.STREAM


def test_a_silent_agent_is_pinged_and_then_dead():
    relay = RelaySide(100.0)
    assert not relay.is_ping_due(100.0 + PING_INTERVAL_S - 0.1)
    assert relay.is_ping_due(100.0 + PING_INTERVAL_S)
    relay.ping(115.0)
    assert not relay.is_ping_due(116.0)
    assert not relay.is_dead(115.0 + PONG_TIMEOUT_S - 0.1)
    assert relay.is_dead(115.0 + PONG_TIMEOUT_S)
    assert PING_INTERVAL_S + PONG_TIMEOUT_S < 30
    relay.receive(b'{"type":"pong"}\n', 116.0)
    assert not relay.is_dead(1000.0)
    assert relay.is_ping_due(116.0 + PING_INTERVAL_S)


@pytest.mark.parametrize(
    "line", [b'{"type":"accept"}\n', b"hello\n", b'{"type":"open"}\n', b"[]\n", b"\n", b"\xff\xfe\n"]
)
def test_an_agent_that_breaks_the_rules_is_found_out(line):
    relay = RelaySide(0.0)
    with pytest.raises(PeerError):
        relay.receive(line, 1.0)
    assert relay.state is State.BROKEN


def test_a_relay_cannot_use_a_connection_twice():
    relay = RelaySide(0.0)
    relay.open("s1", None)
    with pytest.raises(RuntimeError, match="opening"):
        relay.open("s2", None)
    with pytest.raises(RuntimeError):
        relay.ping(1.0)


@given(st.binary(max_size=MAX_LINE_BYTES * 2), cuts)
def test_lines_are_bounded_whatever_comes(data, cut_points):
    buffer, lines, position = LineBuffer(), [], 0
    ends = sorted({min(cut, len(data)) for cut in cut_points} | {len(data)})
    try:
        for end in ends:
            while position < end:
                used, line = buffer.feed(data[position:end])
                position += used
                if line is not None:
                    lines.append(line)
    except PeerError:
        longest = max(len(part) for part in data.split(b"\n"))
        assert longest + 1 >= MAX_LINE_BYTES
        return
    assert lines == data.split(b"\n")[:-1]
    assert all(len(line) < MAX_LINE_BYTES for line in lines)


@given(st.binary(max_size=5000))
def test_no_bytes_crash_either_side(data):
    for side, more in ((AgentSide(), ()), (RelaySide(0.0), (1.0,)), (ReplyReader(), ())):
        try:
            side.receive(data, *more)
        except PeerError:
            pass


@given(st.text(max_size=200), st.binary(max_size=100), cuts)
def test_a_reply_is_read_exactly(error, payload, cut_points):
    data = encode_line(StreamReply(error=error)) + payload
    reader, position, reply = ReplyReader(), 0, None
    for end in sorted({min(cut, len(data)) for cut in cut_points} | {len(data)}):
        if reply is None and end > position:
            used, reply = reader.receive(data[position:end])
            position += used
    assert reply == StreamReply(error=error)
    assert data[position:] == payload


def test_a_head_of_a_newer_version_may_have_more_fields():
    agent = AgentSide()
    line = msgspec.json.encode({"kind": "ssh", "version": 2, "compression": "zstd"}) + b"\n"
    _, events = agent.receive(b'{"type":"open","stream_id":"x"}\n' + line)
    assert events[-1] == Greeted(StreamHead(kind="ssh", version=2))
