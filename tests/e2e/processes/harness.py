"""Starts real servers and agents' ends for the tests of processes, relay and handover."""

import asyncio
import contextlib
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from pathlib import Path

import httpx
import psutil

from devyard.net.dial import OpenedStream, dial_agent_spare
from devyard.net.tickets import sign_ticket
from devyard.server.processes.datadir import read_info
from devyard.wire.streams import TicketClaims
from tests.e2e.processes import tinyapp

ROOT = Path(__file__).parents[3]
START = """
import os, sys
from devyard.server.processes.supervisor import run_supervisor
from devyard.server.settings import load_settings
flags = dict(argument.split("=", 1) for argument in sys.argv[1:])
sys.exit(run_supervisor(load_settings(flags, os.environ), app="tests.e2e.processes.tinyapp:open_app"))
"""
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/unused"


class Server:
    """A running server in a process of its own. `lines` are what it said on standard error."""

    def __init__(self, data_dir, *, ready_timeout_s=20.0, wrap=(), python=sys.executable, **flags):
        self.data_dir = data_dir
        values = {"data_dir": str(data_dir), "http_address": "127.0.0.1:0", "provisioners": "0",
                  "log_format": "json", "log_level": "debug", "postgres_url": NO_DATABASE, **flags}  # fmt: skip
        arguments = [f"{name}={value}" for name, value in values.items() if value is not None]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}:{sysconfig.get_path('purelib')}"}
        self.process = subprocess.Popen(
            [*wrap, python, "-c", START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid
        self.lines = []
        self._stdout = queue.Queue()
        for stream, sink in ((self.process.stdout, self._stdout.put), (self.process.stderr, self.lines.append)):
            threading.Thread(target=self._read, args=(stream, sink), daemon=True).start()
        if ready_timeout_s:
            try:
                self.ready_line = self._stdout.get(timeout=ready_timeout_s)
            except queue.Empty:
                raise AssertionError(f"the server is not ready: {self.lines[-5:]}") from None
            self.url = read_info(data_dir).access_url
            self.port = int(self.url.rpartition(":")[2])

    @staticmethod
    def _read(stream, sink):
        for line in stream:
            sink(line.rstrip("\n"))

    def family(self):
        """The supervisor and all below it, as (pid, creation time, command) that can be looked for later."""
        me = psutil.Process(self.pid)
        return [describe(process) for process in (me, *me.children(recursive=True))]

    def child(self, *words):
        """The one child whose command line has all these words."""
        found = [
            process
            for process in psutil.Process(self.pid).children(recursive=True)
            if all(word in " ".join(process.cmdline()) for word in words)
        ]
        assert found, f"no child {words}: {self.lines[-5:]}"
        return found[0]

    def stop(self, signal_number=signal.SIGTERM, timeout_s=20.0):
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(timeout=timeout_s)


def describe(process):
    return process.pid, process.create_time(), " ".join(process.cmdline())


def alive(family):
    """Those of the family that still run; zombies do not count (nobody in this container may reap them)."""
    left = []
    for pid, created_at, command in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created_at and process.status() != psutil.STATUS_ZOMBIE:
                left.append(command)
    return left


def wait_for(condition, timeout_s=10.0, what="the condition"):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {timeout_s} s")


def fetch(url, path="/x", **options):
    return httpx.get(url + path, timeout=20.0, **options)


def ticket(kind, agent_id, *, user_id=None, workspace_id=None, valid_s=60):
    claims = TicketClaims(
        kind=kind,
        agent_id=agent_id,
        workspace_id=workspace_id or uuid.UUID(int=agent_id.int ^ 1),
        expires_at=int(time.time()) + valid_s,
        user_id=user_id,
        key_id=tinyapp.KEY_ID,
    )
    return sign_ticket(claims, tinyapp.KEY)


class AgentEnd:
    """The agent's side: keeps `spares` connections at the relay, serves streams by `on_open` in threads."""

    def __init__(self, url, on_open, *, spares=2):
        self.agent_id = uuid.uuid4()
        self._url, self._on_open, self._count = url, on_open, spares
        self._ready = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._tasks = [asyncio.run_coroutine_threadsafe(self._serve(), self._loop) for _ in range(self._count)]
        for _ in range(self._count):
            assert self._ready.acquire(timeout=10)
        return self

    def __exit__(self, *_):
        for task in self._tasks:
            task.cancel()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self):
        while True:
            spare = await dial_agent_spare(self._url, ticket("agent", self.agent_id))
            self._ready.release()
            opened = await spare.wait_open()
            thread = threading.Thread(target=self._run, args=(opened,), daemon=True)
            await opened.accept()
            opened.sock.setblocking(True)
            thread.start()

    def _run(self, opened: OpenedStream):
        with opened.sock:
            self._on_open(opened)
