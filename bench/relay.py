"""What the relay costs: bulk streams and API requests through it against the same peers without it, in one run.

    python bench/relay.py [--mib 512] [--rounds 5] [--requests 4000]

Prints JSON. Agent: bulk with one real agent, dialed through the relay and directly (agentbulk.py). Bulk:
the same with a bare sink and source for an agent. The ratio is relay / direct throughput. API: the same ASGI
application on uvicorn's own listener and behind the handover; the ratio is handover / direct requests per second,
on kept connections and with one per request.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "bench")]

from agentbulk import measure_agent  # noqa: E402
from tests.e2e.processes.harness import AgentEnd, Server, ticket, wait_for  # noqa: E402

from devyard.net.client import Head, open_stream  # noqa: E402

MIB = 1024 * 1024
CHUNK = 256 * 1024


def serve_bulk(sock):
    """`u` or `d` and a size: takes or sends that many bytes, then one byte says done."""
    request = sock.recv(9, socket.MSG_WAITALL)
    size = int.from_bytes(request[1:], "big")
    if request[:1] == b"u":
        take(sock, size)
        sock.sendall(b".")
    else:
        give(sock, size)
        sock.recv(1)


def take(sock, size):
    buffer = bytearray(CHUNK)
    while size:
        count = sock.recv_into(buffer)
        assert count, "the stream ended early"
        size -= count


def give(sock, size):
    block = os.urandom(CHUNK)
    for _ in range(size // CHUNK):
        sock.sendall(block)


def run_peer(url, agent_ids, ports):
    """The agent's side: one listener for direct dials, spare connections for dials through the relay."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with sock:
                serve_bulk(sock)

    threading.Thread(target=accept, daemon=True).start()
    with AgentEnd(url, lambda opened: serve_bulk(opened.sock)) as agent:
        agent_ids.send(agent.agent_id)
        ports.send(listener.getsockname()[1])
        while True:
            time.sleep(1)


def time_bulk(connect, direction, size):
    with connect() as sock:
        began = time.perf_counter()
        sock.sendall(direction + size.to_bytes(8, "big"))
        if direction == b"u":
            give(sock, size)
            sock.recv(1)
        else:
            take(sock, size)
        taken = time.perf_counter() - began
        if direction == b"d":
            sock.sendall(b".")
    return size / MIB / taken


def compare(figures, baseline):
    """Median of the ratios of neighbours in time, so that other load on the machine weighs on both."""
    return round(statistics.median(a / b for a, b in zip(figures, baseline, strict=True)), 2)


def measure_bulk(server, mib, rounds):
    agent_ids, agent_end = multiprocessing.Pipe(duplex=False)
    ports, port_end = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    peer = context.Process(target=run_peer, args=(server.url, agent_end, port_end), daemon=True)
    peer.start()
    agent_id, port = agent_ids.recv(), ports.recv()

    def direct():
        return socket.create_connection(("127.0.0.1", port))

    def through_relay():
        return open_stream(server.url, ticket("client", agent_id), Head("tcp", "x", 1))

    results = {}
    relay = server.child("proxy")
    for name, direction in (("to_agent", b"u"), ("to_client", b"d")):
        figures = {"direct": [], "relay": []}
        cpu = 0.0
        for _ in range(rounds):
            figures["direct"].append(time_bulk(direct, direction, mib * MIB))
            before = sum(relay.cpu_times()[:2])
            figures["relay"].append(time_bulk(through_relay, direction, mib * MIB))
            cpu += sum(relay.cpu_times()[:2]) - before
        medians = {key: round(statistics.median(values)) for key, values in figures.items()}
        results[name] = {
            "direct_mib_s": medians["direct"],
            "relay_mib_s": medians["relay"],
            "ratio": compare(figures["relay"], figures["direct"]),
            "relay_cpu_s_per_gib": round(cpu / (mib * rounds / 1024), 3),
        }
    opening = []
    for _ in range(200):
        began = time.perf_counter()
        with through_relay() as sock:
            opening.append(time.perf_counter() - began)
            sock.sendall(b"u" + bytes(8))
            sock.recv(1)
    results["open_stream_ms_median"] = round(statistics.median(opening) * 1000, 2)
    peer.terminate()
    return results


class Requests(asyncio.Protocol):
    """Sends the next request when the answer to the last is whole; a new connection each time if not kept."""

    def __init__(self, left, done, keep):
        self.left, self.done, self.keep, self.data = left, done, keep, b""
        self.request = b"GET /x HTTP/1.1\r\nHost: x\r\n" + (b"" if keep else b"Connection: close\r\n") + b"\r\n"

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data):
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        if end >= 0 and self.data.endswith(b"}"):
            assert self.data.startswith(b"HTTP/1.1 200")
            self.data = b""
            self.left[0] -= 1
            if self.left[0] <= 0 or not self.keep:
                self.transport.close()
            else:
                self.transport.write(self.request)

    def connection_lost(self, _exc):
        if not self.done.done():
            self.done.set_result(None)


async def load(port, count, keep, connections=8):
    loop = asyncio.get_running_loop()
    left = [count]

    async def one():
        while left[0] > 0:
            _, protocol = await loop.create_connection(
                lambda: Requests(left, loop.create_future(), keep), "127.0.0.1", port
            )
            await protocol.done

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return count / (time.perf_counter() - began)


def run_direct(port_end):
    import contextlib

    import uvicorn
    import uvloop
    from tests.e2e.processes import tinyapp

    from devyard.server.processes.apiprocess import refuse_relay_requests
    from devyard.server.settings import ServerSettings

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            app = await stack.enter_async_context(tinyapp.open_app(ServerSettings(), internal_key="x"))
            sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
            config = uvicorn.Config(refuse_relay_requests(app.asgi), http="httptools", ws="websockets-sansio",
                                    log_config=None, access_log=False, timeout_keep_alive=60, server_header=False,
                                    proxy_headers=False)  # fmt: skip
            port_end.send(sock.getsockname()[1])
            await uvicorn.Server(config).serve(sockets=[sock])

    uvloop.run(main())


def measure_api(server, count, rounds):
    import uvloop

    ports, port_end = multiprocessing.Pipe(duplex=False)
    direct = multiprocessing.get_context("spawn").Process(target=run_direct, args=(port_end,), daemon=True)
    direct.start()
    direct_port = ports.recv()
    time.sleep(0.5)
    results = {}
    for name, keep in (("kept_connections", True), ("connection_per_request", False)):
        figures = {"direct": [], "handover": []}
        for _ in range(rounds):
            for key, port in (("direct", direct_port), ("handover", server.port)):
                figures[key].append(uvloop.run(load(port, count, keep)))
        medians = {key: round(statistics.median(values)) for key, values in figures.items()}
        results[name] = {
            "direct_rps": medians["direct"],
            "handover_rps": medians["handover"],
            "ratio": compare(figures["handover"], figures["direct"]),
        }
    direct.terminate()
    return results


def measure_start(data_dir, rounds):
    """Start on an existing data directory with the embedded database, to the first answer."""
    import httpx

    figures = []
    for number in range(rounds + 1):
        began = time.perf_counter()
        server = Server(data_dir, postgres_url=None)
        assert httpx.get(server.url + "/x").status_code == 200
        taken = time.perf_counter() - began
        if number:
            figures.append(taken)
        server.stop()
    return round(statistics.median(figures), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory) / "a", log_level="info")
        try:
            wait_for(lambda: server.process.poll() is None)
            results = {
                "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
                "agent": measure_agent(server, serve_bulk, time_bulk, options.mib, options.rounds, compare),
                "bulk": measure_bulk(server, options.mib, options.rounds),
                "api": measure_api(server, options.requests, options.rounds),
            }
        finally:
            server.stop()
        results["start_to_first_answer_s"] = measure_start(Path(directory) / "b", 5)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
