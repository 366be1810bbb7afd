"""Bulk through the relay against the same real agent dialed directly: the measurement that relay.py prints.

One `devyard agent` process keeps spare connections at two places: the server's relay, and this process. A stream
on a connection of the second kind is the direct dial, one TCP connection between client and agent. `tcp` streams
lead to a source and sink of their own process; `ssh` runs `head -c … /dev/zero` over SSH.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import asyncssh
from tests.e2e.agent.peers import TOKEN, control_server, make_manifest
from tests.e2e.processes.harness import ticket

from devyard.net.client import Head, open_stream, read_through, tune
from devyard.wire.streams import RelayAccess

MIB = 1024 * 1024
VALID_S = 3600
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: devyard-stream\r\n\r\n"


class DirectDial:
    """Takes an agent's spare connections and opens streams on them, as a relay would, in the client itself."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._spares = queue.SimpleQueue()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def open(self, head):
        while True:
            sock = self._spares.get(timeout=30)
            try:
                stream = {"kind": head.kind, "host": head.host, "port": head.port}
                sock.sendall(b'{"type":"open","stream_id":"s"}\n' + json.dumps(stream).encode() + b"\n")
                assert json.loads(read_through(sock, b"\n", 4096)) == {"type": "accept"}
                assert not json.loads(read_through(sock, b"\n", 4096)).get("error")
            except Exception as error:
                if isinstance(error, AssertionError):
                    raise
                sock.close()  # the agent gave this one up meanwhile
            else:
                return sock

    def _accept(self):
        while True:
            sock, _ = self._listener.accept()
            tune(sock)
            read_through(sock, b"\r\n\r\n", 16384)
            sock.sendall(SWITCHING)
            self._spares.put(sock)


@contextlib.contextmanager
def running_agent(relay_url):
    """The agent's process; yields the two ways to open a stream, and the process id."""
    direct, agent_id = DirectDial(), uuid.uuid4()
    access = [
        RelayAccess(direct.url, "direct", int(time.time()) + VALID_S),
        RelayAccess(relay_url, ticket("agent", agent_id, valid_s=VALID_S), int(time.time()) + VALID_S),
    ]
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    control = control_server()
    server = asyncio.run_coroutine_threadsafe(control.__aenter__(), loop).result(10)
    server.manifest = make_manifest(agent_id=agent_id, relays=access)
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "CODER_AGENT_URL": server.url, "CODER_AGENT_TOKEN": TOKEN}
        with open(f"{home}/log", "wb") as log:
            command = [sys.executable, "-m", "devyard", "agent", f"--log-dir={home}", f"--script-data-dir={home}"]
            process = subprocess.Popen(command, env=environment, stderr=log, cwd="/")
        try:
            asyncio.run_coroutine_threadsafe(server.wait_state("ready", 30), loop).result()

            def through_relay(head):
                return open_stream(relay_url, ticket("client", agent_id), head)

            yield direct.open, through_relay, process.pid
        finally:
            process.terminate()
            process.wait(20)
            asyncio.run_coroutine_threadsafe(control.__aexit__(None, None, None), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)


def run_source(serve, ports):
    """A process that serves `serve_bulk` on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    ports.send(listener.getsockname()[1])
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock, contextlib.suppress(OSError, AssertionError):
            serve(sock)


def time_ssh(sock, size):
    """MiB/s of `head -c size /dev/zero` over SSH on this stream, log-in not counted."""

    async def main():
        options = {"known_hosts": None, "username": "x", "client_keys": None, "config": None}
        async with asyncssh.connect(sock=sock, host="agent", **options) as connection:
            began = time.perf_counter()
            async with connection.create_process(f"head -c {size} /dev/zero", encoding=None) as process:
                left = size
                while left:
                    left -= len(await process.stdout.read(256 * 1024))
            return size / MIB / (time.perf_counter() - began)

    return asyncio.run(main())


def measure_agent(server, serve_bulk, time_bulk, mib, rounds, compare):
    """Figures by kind of stream; each round measures both ways in turn, the first of them alternating."""
    ports, port_end = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("spawn")
    source = context.Process(target=run_source, args=(serve_bulk, port_end), daemon=True)
    source.start()
    port = ports.recv()
    size = mib * MIB
    kinds = {
        "tcp_to_client": lambda dial: time_bulk(lambda: dial(Head("tcp", "127.0.0.1", port)), b"d", size),
        "tcp_to_agent": lambda dial: time_bulk(lambda: dial(Head("tcp", "127.0.0.1", port)), b"u", size),
        "ssh_exec_to_client": lambda dial: time_ssh(dial(Head("ssh")), size // 8),
    }
    results = {}
    try:
        with running_agent(server.url) as (direct, through_relay, _):
            ways = {"direct": direct, "relay": through_relay}
            for kind, measure in kinds.items():
                figures = {"direct": [], "relay": []}
                for number in range(rounds + 1):
                    for name in sorted(ways, reverse=bool(number % 2)):
                        figure = measure(ways[name])
                        if number:  # the first round warms up
                            figures[name].append(figure)
                results[kind] = {f"{name}_mib_s": round(statistics.median(f)) for name, f in figures.items()}
                results[kind]["ratio"] = compare(figures["relay"], figures["direct"])
    finally:
        source.terminate()
    return results
