"""The client's own part: paths that can't be escaped, errors rebuilt as the server raised them."""

import msgspec
import pytest

from devyard.sdk.client import Client, Unreachable, encode_query, segment
from devyard.wire.errors import Conflict, Forbidden, Invalid, Unavailable
from tests.unit.sdk.rawserver import RawServer


class Thing(msgspec.Struct):
    a: int


def reply(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nX-Coder-Build-Version: v7\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


def test_whatever_a_user_types_stays_one_segment() -> None:
    assert segment("a/../b?c#d%") == "a%2F..%2Fb%3Fc%23d%25"
    assert segment("ä") == "%C3%A4"
    for text in ("", ".", ".."):
        with pytest.raises(ValueError, match="can't be a name"):
            segment(text)
    assert encode_query({"q": "owner:me a&b", "x": None, "y": True, "z": ""}) == "?q=owner%3Ame%20a%26b&y=true&z="


def test_replies_are_decoded_and_the_version_is_noted() -> None:
    with RawServer([reply(200, b'{"a": 1, "later": true}')]) as server:
        client = Client(server.url + "/", "token")
        assert client.get("/thing", Thing) == Thing(1)
        assert client.server_version == "v7"
        assert b"Coder-Session-Token: token\r\n" in server.requests[0]
        assert server.requests[0].startswith(b"GET /api/v2/thing ")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b'{"message": "no", "code": "forbidden"}', Forbidden),
        (409, b'{"message": "busy"}', Conflict),
        (
            400,
            b'{"message": "bad", "code": "invalid", "validations": [{"field": "name", "detail": "is taken"}]}',
            Invalid,
        ),
    ],
)
def test_errors_are_the_servers(status: int, body: bytes, error: type[Exception]) -> None:
    with RawServer([reply(status, body)]) as server, pytest.raises(error) as caught:
        Client(server.url).do("POST", "/thing", Thing(1))
    if error is Invalid:
        assert "name: is taken" in str(caught.value)


@pytest.mark.parametrize("status", [404, 502])
def test_a_page_of_another_server_is_not_the_apis_answer(status: int) -> None:
    with RawServer([reply(status, b"<html>Not here</html>")]) as server, pytest.raises(Unavailable) as caught:
        Client(server.url).get("/users/first", Thing)
    assert f"{server.url} answered with status {status}" in str(caught.value)
    assert "<html>" not in str(caught.value)


def test_no_reply_and_no_json() -> None:
    with pytest.raises(Unreachable, match="can't be reached"):
        Client("http://127.0.0.1:1").get("/thing", Thing)
    with RawServer([reply(200, b'{"a": "x"}')]) as server, pytest.raises(Unavailable, match="can't be read"):
        Client(server.url).get("/thing", Thing)


def test_extra_headers_win_over_the_session() -> None:
    with RawServer([reply(200, b"{}")]) as server:
        Client(server.url, "mine", headers={"Coder-Session-Token": "theirs", "X-Gate": "1"}).do("GET", "/thing")
        assert b"Coder-Session-Token: theirs\r\n" in server.requests[0]
        assert b"mine" not in server.requests[0]
