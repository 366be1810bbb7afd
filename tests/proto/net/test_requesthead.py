"""Heads as the relay peeks at them: cut anywhere, hostile, too large."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devyard.net.requesthead import (
    MAX_HEAD_BYTES,
    HeadError,
    find_head_end,
    is_for_relay,
    parse_request_head,
    parse_response_head,
)

HEAD = b"GET /relay/v1/stream?x=1 HTTP/1.1\r\nHost: a\r\nUpgrade:  devyard-stream \r\nX: 1\r\nx: 2\r\n\r\n"
PREFIX = b"/relay/"


def test_a_request_head_is_parsed():
    head = parse_request_head(HEAD + b"payload")
    assert head is not None
    assert (head.method, head.target, head.path) == ("GET", "/relay/v1/stream?x=1", "/relay/v1/stream")
    assert head.headers == {"host": "a", "upgrade": "devyard-stream", "x": "2"}
    assert head.size_bytes == len(HEAD)


@given(st.integers(0, len(HEAD) - 1))
def test_a_part_of_a_head_is_no_head(size):
    assert parse_request_head(HEAD[:size]) is None
    assert is_for_relay(HEAD[:size], PREFIX) in (None, True)


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_head_an_error_or_incomplete(data):
    for parse in (parse_request_head, parse_response_head):
        with contextlib.suppress(HeadError):
            head = parse(data)
            assert head is None or head.size_bytes <= len(data)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a\r\n\r\n",
        b"GET  /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/2.0\r\n\r\n",
        b"G(T /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /a HTTP/1.1\r\nbad name: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\n folded\r\n\r\n",
    ],
)
def test_malformed_heads_are_refused(head):
    with pytest.raises(HeadError) as caught:
        parse_request_head(head)
    assert caught.value.status == 400


def test_a_head_is_bounded():
    start = b"GET / HTTP/1.1\r\nX: "
    assert find_head_end(start + b"a" * (MAX_HEAD_BYTES - len(start) - 1)) is None
    fits = start + b"a" * (MAX_HEAD_BYTES - len(start) - 4) + b"\r\n\r\n"
    assert find_head_end(fits) == MAX_HEAD_BYTES
    for data in (start + b"a" * MAX_HEAD_BYTES, fits.replace(b"X: ", b"X: a")):
        with pytest.raises(HeadError) as caught:
            find_head_end(data)
        assert caught.value.status == 431


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET /relay/x HTTP/1.1", True),
        (b"GET /relay HTTP/1.1", False),
        (b"GET /relays/ HTTP/1.1", False),
        (b"GET /api", False),
        (b"GET /rel", None),
        (b"GET ", None),
        (b"GE", None),
        (b"PRI * HTTP/2.0\r\n\r\n", False),
        (b"\r\nGET /relay/ HTTP/1.1", True),  # and then refused: no leading lines here
        (b"A" * 40, False),
    ],
)
def test_who_a_request_is_for(data, answer):
    assert is_for_relay(data, PREFIX) is answer


def test_a_response_head_is_parsed():
    head = parse_response_head(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nrest")
    assert head is not None
    assert (head.status, head.headers, head.size_bytes) == (101, {"upgrade": "x"}, 48)
    with pytest.raises(HeadError):
        parse_response_head(b"SSH-2.0-OpenSSH\r\n\r\n")
