"""The HTTP client against servers that behave, that misbehave, and that go away."""

import pytest

from devyard.sdk.http import HttpConnection, TransportError
from tests.unit.sdk.rawserver import RawServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO_PROXY: dict[str, str] = {}


def connect(server: RawServer, **options: object) -> HttpConnection:
    return HttpConnection(server.url, environment=NO_PROXY, **options)  # type: ignore[arg-type]


def test_one_connection_serves_several_requests() -> None:
    with RawServer([OK, OK]) as server:
        connection = connect(server, headers={"A": "b"})
        assert connection.request("GET", "/x?y=1").body == b"ok"
        assert connection.request("POST", "/x", body=b"{}").status == 200
        assert server.requests[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"A: b\r\n" in server.requests[1]
        assert server.requests[1].endswith(b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", b"x"),
    ],
)
def test_every_framing_of_a_body(reply: bytes, body: bytes) -> None:
    with RawServer([reply]) as server:
        assert connect(server).request("GET", "/").body == body


def test_a_stale_connection_is_replaced_for_what_may_be_repeated() -> None:
    with RawServer([OK], [OK, OK]) as server:
        connection = connect(server)
        assert connection.request("GET", "/1").status == 200
        assert connection.request("GET", "/2").status == 200
        assert [r.split()[1] for r in server.requests] == [b"/1", b"/2"]


def test_a_post_that_got_no_answer_is_not_repeated() -> None:
    with RawServer([OK, b""], [OK]) as server:
        connection = connect(server)
        connection.request("GET", "/1")
        with pytest.raises(TransportError, match="without an answer"):
            connection.request("POST", "/2", body=b"x")
        assert [r.split()[1] for r in server.requests] == [b"/1", b"/2"]


def test_redirects_of_get_stay_with_the_host() -> None:
    there = b"HTTP/1.1 307 Go\r\nLocation: /there?a=1\r\nContent-Length: 0\r\n\r\n"
    with RawServer([there, OK]) as server:
        assert connect(server).request("GET", "/here").body == b"ok"
        assert server.requests[1].startswith(b"GET /there?a=1 ")
    away = b"HTTP/1.1 302 Go\r\nLocation: https://elsewhere.example/x\r\nContent-Length: 0\r\n\r\n"
    with (
        RawServer([away]) as server,
        pytest.raises(TransportError, match="devyard login https://elsewhere"),
    ):
        connect(server, headers={"Coder-Session-Token": "secret"}).request("GET", "/here")
    with RawServer([there]) as server:
        assert connect(server).request("POST", "/here", body=b"").status == 307


def test_a_circle_of_redirects_ends() -> None:
    circle = b"HTTP/1.1 302 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    with RawServer([circle] * 10) as server, pytest.raises(TransportError, match="circle"):
        connect(server).request("GET", "/")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
    ],
)
def test_a_reply_is_bounded(reply: bytes) -> None:
    with RawServer([reply]) as server, pytest.raises(TransportError, match="larger than"):
        connect(server).request("GET", "/", max_bytes=1000)


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_an_error_of_ours(reply: bytes) -> None:
    with RawServer([reply]) as server, pytest.raises(TransportError):
        connect(server).request("GET", "/")


def test_silence_ends_in_time() -> None:
    with RawServer([b""]) as server:
        connection = connect(server, timeout_s=0.05)
        server._read_request = lambda c: c.recv(1) and __import__("time").sleep(1)  # type: ignore[method-assign]
        with pytest.raises(TransportError, match="did not answer within"):
            connection.request("GET", "/")


def test_line_breaks_never_reach_the_wire() -> None:
    with RawServer([OK]) as server:
        with pytest.raises(TransportError, match="line break"):
            connect(server, headers={"A": "b\r\nC: d"}).request("GET", "/")
        assert server.requests == []


def test_http_proxies_are_used_as_the_environment_says() -> None:
    with RawServer([OK]) as proxy:
        environment = {"http_proxy": f"127.0.0.1:{proxy.port}", "no_proxy": "internal.example,.corp"}
        connection = HttpConnection("http://dev.example:8080/base", environment=environment)
        assert connection.request("GET", "/x").status == 200
        assert proxy.requests[0].startswith(
            b"GET http://dev.example:8080/base/x HTTP/1.1\r\nHost: dev.example:8080\r\n"
        )
        for exempt in ("http://internal.example", "http://a.corp", "http://localhost", "http://127.0.0.1"):
            assert HttpConnection(exempt, environment=environment)._proxy is None


def test_https_goes_through_a_tunnel() -> None:
    with RawServer([b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"]) as proxy:
        connection = HttpConnection("https://dev.example", environment={"HTTPS_PROXY": proxy.url})
        with pytest.raises(TransportError, match="refused to connect to dev"):
            connection.request("GET", "/")
        assert proxy.requests[0].startswith(b"CONNECT dev.example:443 HTTP/1.1\r\n")
