"""API requests on the one public port: accepted by the relay, served on handed-over descriptors."""

import hashlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from websockets.sync.client import connect as connect_websocket

from tests.e2e.processes.harness import Server, fetch, wait_for

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server"), api_processes="2")
    wait_for(lambda: sum("api_registered" in line for line in running.lines) == 2)
    yield running
    assert running.stop() == 0


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_answer(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def test_a_large_upload_arrives_whole(server):
    block = os.urandom(MIB)

    def chunks():
        for _ in range(100):
            yield block

    answer = httpx.post(server.url + "/upload", content=chunks(), timeout=60).json()
    assert answer["size"] == 100 * MIB
    assert answer["sha256"] == hashlib.sha256(block * 100).hexdigest()


def test_websockets(server):
    with connect_websocket(server.url.replace("http", "ws") + "/ws") as websocket:
        for message in ("text", b"bytes", "x" * 500_000):
            websocket.send(message)
            assert websocket.recv(timeout=10) == message


def test_keep_alive_and_then_a_relay_request_on_the_same_connection(server):
    with httpx.Client(base_url=server.url) as client:
        answers = [client.get(f"/{number}").json() for number in range(50)]
        assert len({(answer["pid"], *answer["client"]) for answer in answers}) == 1
        assert answers[0]["client"][0] == "127.0.0.1"
        refused = client.get("/relay/healthz")
        assert refused.status_code == 421
        assert refused.headers["connection"] == "close"
        assert "new connection" in refused.json()["message"]
    assert fetch(server.url, "/relay/healthz").status_code == 200


def test_the_client_address_is_the_clients(server):
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        _, _, body = read_answer(sock)
        assert json.loads(body)["client"] == list(sock.getsockname())


def test_connections_are_spread_over_the_api_processes(server):
    clients = [httpx.Client(base_url=server.url) for _ in range(20)]
    pids = [client.get("/x").json()["pid"] for client in clients]
    for client in clients:
        client.close()
    assert min(pids.count(pid) for pid in set(pids)) >= 6
    assert len(set(pids)) == 2


def test_a_head_that_dribbles_in(server):
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /slow-head HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            sock.send(bytes([byte]))
            time.sleep(0.002)
        status, _, body = read_answer(sock)
        assert (status, json.loads(body)["path"]) == (200, "/slow-head")


def test_a_waiting_connection_costs_no_cpu(server):
    relay = server.child("proxy")
    with connect(server) as silent, connect(server) as partial:
        partial.sendall(b"GET /x HTTP/1.1\r\nHo")
        time.sleep(0.1)
        before = sum(relay.cpu_times()[:2])
        time.sleep(1.0)
        assert sum(relay.cpu_times()[:2]) - before < 0.1
        partial.sendall(b"st: x\r\nConnection: close\r\n\r\n")
        assert read_answer(partial)[0] == 200
        silent.shutdown(socket.SHUT_WR)
        assert silent.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /" + b"a" * 17000, 431),
        (b"GET /relay/x HTTP/1.1\r\nbad line\r\n\r\n", 400),
        (b"GET /relay/%2e%2e HTTP/1.1\r\n\r\n", 404),
        (b"POST /relay/v1/stream HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 426),
    ],
)
def test_what_is_no_request_gets_an_answer(server, sent, status):
    with connect(server) as sock:
        sock.sendall(sent)
        answered, head, body = read_answer(sock)
        assert answered == status
        assert json.loads(body)["message"]
        assert "application/json" in head


@pytest.mark.slow
def test_a_head_that_never_ends_is_cut(server):
    with connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        assert read_answer(sock)[0] == 408
        assert time.monotonic() - began > 9


def test_a_stalled_process_gets_no_more_than_its_share(server):
    """One of two API processes stalls: requests that come meanwhile are answered by the other."""
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(fetch, server.url, "/stall?2")
        time.sleep(0.3)
        quick = 0
        for _ in range(40):
            try:
                quick += httpx.get(server.url + "/x", timeout=0.2).status_code == 200
            except httpx.TimeoutException:
                pass
        assert quick >= 25
        assert stalled.result().status_code == 200


def test_no_connection_is_lost_when_an_api_process_dies(server):
    """Connections that a killed process was given and had not taken are served by the others."""
    victim = fetch(server.url).json()["pid"]
    os.kill(victim, signal.SIGSTOP)
    with ThreadPoolExecutor(16) as pool:
        requests = [pool.submit(fetch, server.url, f"/{number}") for number in range(16)]
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)
        assert [request.result().status_code for request in requests] == [200] * 16
    assert any('"child_ended"' in line and "SIGKILL" in line for line in server.lines)


def test_without_any_api_process_connections_wait(tmp_path):
    server = Server(tmp_path)
    try:
        for _ in range(2):
            os.kill(server.child("server api").pid, signal.SIGKILL)
            with ThreadPoolExecutor(8) as pool:
                assert {answer.status_code for answer in pool.map(fetch, [server.url] * 8)} == {200}
        os.kill(server.child("server api").pid, signal.SIGSTOP)
        assert fetch(server.url, "/relay/healthz").status_code == 200
        os.kill(server.child("server api").pid, signal.SIGCONT)
    finally:
        assert server.stop() == 0


def test_later_requests_have_bounds_too(server):
    with connect(server) as sock:
        request = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(2):
            sock.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):  # head and body may come one by one
                piece = sock.recv(65536)
                assert piece
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /x HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            sock.sendall(b"a" * 20_000_000)


def test_an_early_answer_to_a_large_upload_is_read_by_the_client(server):
    answer = httpx.post(server.url + "/refuse", content=bytes(20 * MIB), timeout=20)
    assert answer.status_code == 413


@pytest.mark.slow
def test_a_later_head_that_never_ends_is_cut(server):
    with connect(server) as sock:
        sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert (answer.status, bool(answer.read())) == (200, True)
        began = time.monotonic()
        for piece in (b"GET", b" /x HT", b"TP/1.1\r\nX"):
            sock.sendall(piece)
            time.sleep(0.1)
        assert sock.recv(10) == b""
        assert time.monotonic() - began > 9


@pytest.mark.slow
def test_a_websocket_outlives_the_bound_of_a_head(server):
    with connect_websocket(server.url.replace("http", "ws") + "/ws") as websocket:
        websocket.send("x" * 200_000)
        assert len(websocket.recv(timeout=10)) == 200_000
        time.sleep(10.5)
        websocket.send("still there")
        assert websocket.recv(timeout=10) == "still there"


def test_many_connections_at_once(server):
    """A burst beyond what one process is handed at a time: everyone is served."""
    count = 400
    barrier = threading.Barrier(8)

    def burst(_):
        barrier.wait()
        socks = [connect(server) for _ in range(count // 8)]
        for sock in socks:
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return [read_answer(sock)[0] for sock in socks]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for part in pool.map(burst, range(8)) for status in part]
    assert statuses == [200] * count
