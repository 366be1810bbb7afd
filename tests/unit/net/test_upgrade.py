"""The upgrade request and how its answers become errors."""

import base64

import pytest

from devyard.net.address import parse_relay_url
from devyard.net.client import Head
from devyard.net.framing import AgentSide, Greeted, encode_line
from devyard.net.requesthead import ResponseHead, parse_request_head
from devyard.net.upgrade import (
    AgentRefusedError,
    StreamError,
    check_reply,
    encode_head_line,
    encode_upgrade,
    read_refusal,
)
from devyard.wire.streams import CLIENT_PATH, STREAM_HEAD_HEADER, UPGRADE_PROTOCOL, StreamHead, StreamReply


def test_the_request_carries_ticket_and_head():
    address = parse_relay_url("https://x.example/base")
    head = parse_request_head(encode_upgrade(address, CLIENT_PATH, "abc.def", Head("tcp", "localhost", 8080)))
    assert head is not None
    assert head.path == "/base" + CLIENT_PATH
    assert head.headers["authorization"] == "Bearer abc.def"
    assert head.headers["upgrade"] == UPGRADE_PROTOCOL
    text = head.headers[STREAM_HEAD_HEADER.lower()]
    line = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert line == b'{"kind":"tcp","host":"localhost","port":8080}\n'


@pytest.mark.parametrize("ticket", ["a\r\nX: y", "a b", "ä"])
def test_a_ticket_cannot_smuggle_headers(ticket):
    with pytest.raises(ValueError, match="malformed"):
        encode_upgrade(parse_relay_url("http://a"), CLIENT_PATH, ticket)


@pytest.mark.parametrize("head", [Head("ssh"), Head("tcp", "::1", 1), StreamHead(kind="ping")])
def test_the_cheap_head_line_is_what_agents_decode(head):
    agent = AgentSide()
    agent.receive(b'{"type":"open","stream_id":"x"}\n')
    _, events = agent.receive(encode_head_line(head))
    assert events == [Greeted(StreamHead(kind=head.kind, host=head.host, port=head.port))]


def test_refusals_keep_the_relays_words():
    error = read_refusal(ResponseHead(503, {}, 0), b'{"message":"The agent is not connected."}')
    assert (error.status, str(error)) == (503, "The agent is not connected.")
    for body in (b"", b"<html>", b"[]", b'{"message":3}'):
        assert "502" in str(read_refusal(ResponseHead(502, {}, 0), body))


def test_replies():
    check_reply(encode_line(StreamReply()))
    with pytest.raises(AgentRefusedError, match="nothing listens"):
        check_reply(encode_line(StreamReply(error="nothing listens on port 80")))
    for line in (b"x\n", b"[]\n"):
        with pytest.raises(StreamError, match="malformed"):
            check_reply(line)
