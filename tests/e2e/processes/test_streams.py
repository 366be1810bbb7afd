"""Streams through the real relay process: every byte, both ends, and what happens when something dies."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import threading
import time
import uuid

import pytest

from devyard.net.client import Head, open_stream
from devyard.net.upgrade import RelayRefusedError
from devyard.wire.streams import AGENT_PATH, UPGRADE_PROTOCOL
from tests.e2e.processes.harness import AgentEnd, Server, fetch, ticket, wait_for

MIB = 1024 * 1024
BULK = 200 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("server"), streams_per_user="3")
    yield running
    assert running.stop() == 0


def connect(server, agent, **claims):
    return open_stream(server.url, ticket("client", agent.agent_id, **claims), Head("tcp", "localhost", 80))


def receive_all(sock):
    digest, size, buffer = hashlib.sha256(), 0, bytearray(MIB)
    while count := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:count])
        size += count
    return size, digest.hexdigest()


def send_all(sock, seed, size):
    digest = hashlib.sha256()
    block = hashlib.shake_128(seed).digest(MIB)
    for index in range(size // MIB):
        piece = struct.pack(">Q", index) + block[8:]
        digest.update(piece)
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
    return size, digest.hexdigest()


def in_thread(function, *arguments):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()

    def join():
        thread.join(120)
        return results[0]

    return join


def test_200_mib_both_ways_at_once_byte_for_byte(server):
    seen = {}

    def serve(opened):
        receiving = in_thread(receive_all, opened.sock)
        seen["sent"] = send_all(opened.sock, b"agent", BULK)
        seen["received"] = receiving()

    with AgentEnd(server.url, serve) as agent, connect(server, agent) as sock:
        receiving = in_thread(receive_all, sock)
        sent = send_all(sock, b"client", BULK)
        received = receiving()
        wait_for(lambda: "received" in seen)
    assert received == seen["sent"]
    assert seen["received"] == sent
    line = wait_for(
        lambda: next(
            (line for line in server.lines if str(agent.agent_id) in line and "bytes_to_agent" in line), None
        )
    )
    record = json.loads(line)
    assert record["bytes_to_client"] - len(b"{}\n") == BULK
    assert record["bytes_to_agent"] - BULK < 100
    assert record["error"] is None
    assert "icket" not in line


def test_the_end_of_one_direction_leaves_the_other_open(server):
    heads = []

    def serve(opened):
        heads.append(opened.head)
        asked = b""
        while piece := opened.sock.recv(100):
            asked += piece
        for word in (b"you said ", asked):
            time.sleep(0.1)
            opened.sock.sendall(word)

    with AgentEnd(server.url, serve) as agent, connect(server, agent) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile("rb").read() == b"you said hello"
    assert (heads[0].kind, heads[0].host, heads[0].port) == ("tcp", "localhost", 80)


def test_a_slow_reader_slows_the_sender_and_not_the_relay(server):
    sent = [0]

    def serve(opened):
        with contextlib.suppress(OSError):
            while True:
                sent[0] += opened.sock.send(bytes(64 * 1024))

    with AgentEnd(server.url, serve) as agent, connect(server, agent) as sock:
        wait_for(lambda: sent[0] > 0)
        time.sleep(0.5)
        stuck_at = sent[0]
        time.sleep(0.3)
        assert sent[0] == stuck_at
        assert stuck_at < 64 * MIB
        assert server.child("proxy").memory_info().rss < 150 * MIB
        sock.recv(MIB)
    wait_for(lambda: any("bytes_to_client" in line and str(agent.agent_id) in line for line in server.lines))


def test_a_reset_is_passed_on_as_a_reset(server):
    def serve(opened):
        opened.sock.recv(10)
        opened.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with AgentEnd(server.url, serve) as agent, connect(server, agent) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(10)


def test_a_dead_spare_connection_costs_a_moment_and_no_byte(server):
    """A host that vanished: its connection takes bytes and never answers. The next spare gets them all."""

    def serve(opened):
        opened.sock.sendall(opened.sock.recv(100).upper())

    with AgentEnd(server.url, serve, spares=1) as agent:
        dead = socket.create_connection(("127.0.0.1", server.port))
        head = f"GET {AGENT_PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: {UPGRADE_PROTOCOL}\r\nConnection: Upgrade\r\n"
        dead.sendall(f"{head}Authorization: Bearer {ticket('agent', agent.agent_id)}\r\n\r\n".encode())
        assert dead.recv(100).startswith(b"HTTP/1.1 101")
        began = time.monotonic()
        with connect(server, agent) as sock, dead:
            sock.sendall(b"hello")
            assert sock.recv(100) == b"HELLO"
        assert 2.0 < time.monotonic() - began < 5.0


def test_streams_outlive_the_api_process(server):
    def serve(opened):
        while piece := opened.sock.recv(100):
            opened.sock.sendall(piece)

    with AgentEnd(server.url, serve) as agent, connect(server, agent) as sock:
        sock.sendall(b"before")
        assert sock.recv(100) == b"before"
        os.kill(server.child("server api").pid, signal.SIGKILL)
        for _ in range(20):
            sock.sendall(b"during")
            assert sock.recv(100) == b"during"
            time.sleep(0.01)
        with connect(server, agent) as second:
            second.sendall(b"a new one")
            assert second.recv(100) == b"a new one"
        assert fetch(server.url).status_code == 200
        sock.sendall(b"after")
        assert sock.recv(100) == b"after"


def test_a_stalled_api_does_not_slow_streams(server):
    def serve(opened):
        while piece := opened.sock.recv(100):
            opened.sock.sendall(piece)

    with AgentEnd(server.url, serve) as agent:
        stalling = in_thread(fetch, server.url, "/stall?1.5")
        time.sleep(0.2)
        began = time.monotonic()
        with connect(server, agent) as sock:
            for _ in range(50):
                sock.sendall(b"x")
                assert sock.recv(100) == b"x"
        assert time.monotonic() - began < 1.0
        assert stalling().status_code == 200
    stall = wait_for(lambda: next((line for line in server.lines if "loop_stalled" in line), None))
    assert "tinyapp.py" in json.loads(stall)["where"]


def test_limits_per_user(server):
    def serve(opened):
        opened.sock.recv(1)

    user = uuid.uuid4()
    with AgentEnd(server.url, serve, spares=4) as agent, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(server, agent, user_id=user))
        with pytest.raises(RelayRefusedError, match="3 open streams") as caught:
            connect(server, agent, user_id=user)
        assert caught.value.status == 429
        stack.enter_context(connect(server, agent, user_id=uuid.uuid4()))


def test_refusals(server):
    agent_id = uuid.uuid4()
    for text, status, words in (
        (ticket("client", agent_id, valid_s=-1), 401, "expired"),
        (ticket("agent", agent_id), 403, "agent connections"),
        ("nonsense", 401, "malformed"),
    ):
        with pytest.raises(RelayRefusedError, match=words) as caught:
            open_stream(server.url, text, Head("ssh"))
        assert caught.value.status == status
    began = time.monotonic()
    with pytest.raises(RelayRefusedError, match="not connected") as caught:
        open_stream(server.url, ticket("client", agent_id), Head("ssh"))
    assert caught.value.status == 503
    assert 4.0 < time.monotonic() - began < 8.0
    assert fetch(server.url, "/relay/healthz").json() == {"status": "ok"}
    assert fetch(server.url, "/relay/nothing").status_code == 404
    assert fetch(server.url, AGENT_PATH).status_code == 426


def test_a_waiting_client_gets_the_first_spare_that_comes(server):
    def serve(opened):
        opened.sock.sendall(b"here")

    agent = AgentEnd(server.url, serve, spares=1)
    opening = in_thread(connect, server, agent)
    time.sleep(0.3)
    with agent, opening() as sock:
        assert sock.recv(10) == b"here"
