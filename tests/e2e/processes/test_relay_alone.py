"""The relay and the splice loop by themselves: bounds, keepalive, and the copying fallback."""

import asyncio
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
import uuid

import msgspec
import pytest

from devyard.net import framing
from devyard.net.handover import connect as connect_handover
from devyard.net.relayconfig import RelayConfig
from devyard.net.splice import PipePool, splice_sockets
from devyard.proxy import spares
from tests.e2e.processes.harness import ROOT, alive, describe, wait_for

MIB = 1024 * 1024


@pytest.fixture
def relay(tmp_path):
    """A relay without any API process: (port, its process)."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = RelayConfig(
        listen_fd=listener.fileno(),
        handover_path=str(tmp_path / "relay.sock"),
        waiting_connections=2,
        waiting_s=1.0,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "devyard", "proxy", "start", "--embedded"],
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    process.stdin.write(msgspec.json.encode(config) + b"\n")
    process.stdin.flush()
    port = listener.getsockname()[1]
    listener.close()
    wait_for(lambda: _listens(tmp_path / "relay.sock"))
    yield port, process
    process.kill()
    process.wait()


def _listens(path):
    """The socket's file is there a moment before anybody listens on it."""
    try:
        connect_handover(path).close()
    except OSError:
        return False
    return True


def request(port):
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    sock.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    return sock


def read_answer(sock):
    with sock, sock.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_connections_wait_for_an_api_bounded_in_time_and_number(relay):
    port, _ = relay
    began = time.monotonic()
    waiting = [request(port), request(port)]
    time.sleep(0.1)
    status, body = read_answer(request(port))
    assert status == 503
    assert "not available" in body["message"]
    for sock in waiting:
        assert read_answer(sock)[0] == 503
    assert 0.9 < time.monotonic() - began < 2.5


def test_an_api_that_breaks_the_protocol_is_dropped(relay, tmp_path):
    port, _ = relay
    with connect_handover(tmp_path / "relay.sock") as link:
        link.send(b"nonsense")
        link.setblocking(True)
        assert link.recv(10) == b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /relay/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(sock)[0] == 200


def test_the_relay_ends_with_its_control_pipe(relay):
    import psutil

    _, process = relay
    family = [describe(psutil.Process(process.pid))]
    process.stdin.close()
    assert process.wait(5) == 0
    assert alive(family) == []


async def test_silent_spares_are_pinged_and_dead_ones_dropped(monkeypatch):
    monkeypatch.setattr(framing, "PING_INTERVAL_S", 0.2)
    monkeypatch.setattr(framing, "PONG_TIMEOUT_S", 0.3)
    monkeypatch.setattr(spares, "SWEEP_S", 0.05)
    loop = asyncio.get_running_loop()
    pool = spares.SparePool(per_agent=2, total=10)
    answering, silent = uuid.uuid4(), uuid.uuid4()
    ends = {}
    for agent_id in (answering, silent):
        ends[agent_id], ours = socket.socketpair()
        ends[agent_id].setblocking(False)
        ours.setblocking(False)
        pool.add(agent_id, ours)
    pinging = asyncio.ensure_future(pool.run_pings())
    began = loop.time()
    pings = 0
    while loop.time() - began < 1.2:
        assert await asyncio.wait_for(loop.sock_recv(ends[answering], 100), 1) == b'{"type":"ping"}\n'
        pings += 1
        await loop.sock_sendall(ends[answering], b'{"type":"pong"}\n')
    assert 3 <= pings <= 7
    assert pool.total == 1
    assert await loop.sock_recv(ends[silent], 100) == b'{"type":"ping"}\n'
    assert await loop.sock_recv(ends[silent], 100) == b""
    assert await pool.take(silent, 0.05) is None
    spare = await pool.take(answering, 0.05)
    assert spare is not None
    assert pool.total == 0
    spare.sock.close()
    pinging.cancel()


async def test_a_new_spare_pushes_out_the_oldest():
    pool = spares.SparePool(per_agent=2, total=10)
    agent_id = uuid.uuid4()
    pairs = [socket.socketpair() for _ in range(3)]
    for theirs, ours in pairs:
        ours.setblocking(False)
        theirs.settimeout(5)
        pool.add(agent_id, ours)
    assert pairs[0][0].recv(1) == b""
    spare = await pool.take(agent_id, 1)
    assert spare is not None
    assert spare.sock is pairs[2][1]
    pool.close()
    assert pairs[1][0].recv(1) == b""


async def test_a_waiter_that_gave_up_takes_no_spare_along():
    pool = spares.SparePool(per_agent=2, total=10)
    agent_id = uuid.uuid4()
    waiting = asyncio.ensure_future(pool.take(agent_id, 10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    pool.add(agent_id, ours)
    spare = await pool.take(agent_id, 0)
    assert spare is not None
    assert spare.sock is ours
    ours.close()
    theirs.close()


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    served.setblocking(False)
    return client, served


@pytest.mark.parametrize("make_pool", [PipePool, lambda: None], ids=["pipes", "buffers"])
async def test_splice_is_exact_in_odd_pieces(make_pool):
    left, relay_left = tcp_pair()
    right, relay_right = tcp_pair()
    data = hashlib.shake_128(b"odd").digest(8 * MIB)

    def send(sock):
        position, step = 0, 1
        while position < len(data):
            sock.sendall(data[position : position + step])
            position, step = position + step, step * 3 % 100_003 + 1
        sock.shutdown(socket.SHUT_WR)

    def receive(sock):
        got = bytearray()
        while piece := sock.recv(33_333):
            got += piece
        return bytes(got)

    pool = make_pool()
    splicing = asyncio.ensure_future(splice_sockets(relay_left, relay_right, pool))
    work = [asyncio.to_thread(send, left), asyncio.to_thread(send, right)]
    results = await asyncio.gather(*work, asyncio.to_thread(receive, left), asyncio.to_thread(receive, right))
    assert results[2:] == [data, data]
    result = await splicing
    assert (result.bytes_forward, result.bytes_back, result.error) == (len(data), len(data), "")
    assert relay_left.fileno() == relay_right.fileno() == -1
    left.close()
    right.close()


async def test_cancelling_a_splice_resets_both_ends():
    left, relay_left = tcp_pair()
    right, relay_right = tcp_pair()
    pool = PipePool()
    splicing = asyncio.ensure_future(splice_sockets(relay_left, relay_right, pool))
    await asyncio.sleep(0.05)
    splicing.cancel()
    await asyncio.gather(splicing, return_exceptions=True)
    for sock in (left, right):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        sock.close()


async def test_a_reset_in_the_middle_is_no_end():
    left, relay_left = tcp_pair()
    right, relay_right = tcp_pair()
    splicing = asyncio.ensure_future(splice_sockets(relay_left, relay_right, PipePool()))
    left.sendall(b"half")
    assert await asyncio.to_thread(right.recv, 10) == b"half"
    left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    left.close()
    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(right.recv, 10)
    assert "reset" in (await splicing).error
    right.close()
