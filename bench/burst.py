"""Many creates at once, and what they do to a terminal that is open meanwhile.

    python bench/burst.py [--workspaces 30] [--rounds 1]

One server with three provisioners. Prints: seconds from the first create call until the last agent is connected,
CPU seconds of everything per build, the queue's and the build's own time, and the echo of a key in a terminal (an
OpenSSH session on a pty) before and during the burst. Everything runs on loopback and is bounded.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import pty
import resource
import select
import statistics
import subprocess
import tempfile
import time
import tty
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
from benchserver import PYTHON, BenchServer

from devyard.runtime.scheduling import prefer_latency


class Terminal:
    """A workspace's terminal in which every key comes back."""

    def __init__(self, server: BenchServer, workspace: str) -> None:
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self.process = subprocess.Popen(
            [*PYTHON, "ssh", workspace],
            env={**server.environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(slave)
        self.read_until(b"$", b"#")
        os.write(self.master, b"stty sane -icanon; echo READY | tr A-Z a-z; exec cat >/dev/null\r")
        self.read_until(b"ready")
        while select.select([self.master], [], [], 0.3)[0]:
            os.read(self.master, 4096)

    def read_until(self, *texts: bytes) -> None:
        """Until one of these was printed."""
        seen = b""
        while not any(text in seen for text in texts):
            if not select.select([self.master], [], [], 30)[0]:
                raise SystemExit(f"the terminal does not go on after {seen!r}")
            seen += os.read(self.master, 4096)

    def echo_ms(self) -> float:
        """One key there and back."""
        began = time.perf_counter()
        os.write(self.master, b"x")
        if not select.select([self.master], [], [], 10)[0]:
            raise SystemExit("the terminal does not answer")
        os.read(self.master, 4096)
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        os.close(self.master)


def sample(terminal: Terminal, limit: int) -> list[float]:
    """Keys one after the other."""
    values: list[float] = []
    while len(values) < limit:
        values.append(terminal.echo_ms())
        time.sleep(0.02)
    return values


class Sampler:
    """Keys until told to end, in a process of its own, as a terminal's user is somewhere else."""

    def __init__(self, terminal: Terminal) -> None:
        self._values, theirs = multiprocessing.Pipe()
        self._ended = multiprocessing.Event()
        self._process = multiprocessing.Process(target=self._run, args=(terminal, theirs))
        self._process.start()

    def _run(self, terminal: Terminal, values: Connection) -> None:
        os.setsid()
        prefer_latency()
        found = []
        while not self._ended.is_set() and len(found) < 10_000:
            found.append(terminal.echo_ms())
            time.sleep(0.02)
        values.send(found)

    def end(self) -> list[float]:
        """The echo of each key in milliseconds."""
        self._ended.set()
        found: list[float] = self._values.recv()
        self._process.join()
        return found


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and all below it."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspaces", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="devyard-bench-") as root:
        server = BenchServer(Path(root))
        process, _ = server.start()
        try:
            for number in range(min(options.rounds, 10)):
                measure(server, process.pid, f"r{number}-", min(options.workspaces, 200))
        finally:
            server.stop(process)


def measure(server: BenchServer, pid: int, prefix: str, count: int) -> None:
    api = server.sign_in()
    if not api.get("/templates").json():
        server.cli("templates", "init", "--id", "local", str(server.root / "local"))
        server.cli("templates", "push", "local", "-d", str(server.root / "local"), "--yes")
    template = api.get("/templates").json()[0]["id"]
    create = lambda name: api.post("/users/me/workspaces", json={"name": name, "template_id": template})  # noqa: E731
    wait_connected(api, [create(f"{prefix}kept").json()["id"]])
    terminal = Terminal(server, f"{prefix}kept")
    quiet = sample(terminal, 200)
    cpu_before = cpu_s(pid)
    sampler = Sampler(terminal)
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(create, [f"{prefix}w{n}" for n in range(count)]))
    ids = [reply.raise_for_status().json()["id"] for reply in replies]
    wait_connected(api, ids)
    took = time.perf_counter() - began
    busy = sampler.end()
    used = cpu_s(pid) - cpu_before
    builds = [api.get(f"/workspaces/{w}").json()["latest_build"]["job"] for w in ids]
    parse = datetime.fromisoformat
    own = [(parse(b["completed_at"]) - parse(b["started_at"])).total_seconds() * 1000 for b in builds]
    print(f"{count} creates → all connected: {took:.2f} s; CPU {used / count:.2f} s a build, all processes")
    print(f"build alone: median {statistics.median(own):.0f} ms, p95 {percentile(own, 0.95):.0f} ms")
    for name, values in (("quiet", quiet), ("during the burst", busy)):
        print(
            f"terminal echo, {name}: median {statistics.median(values):.1f} ms, "
            f"p95 {percentile(values, 0.95):.1f} ms ({len(values)} keys)"
        )
    terminal.close()
    for workspace in [*ids]:
        api.post(f"/workspaces/{workspace}/builds", json={"transition": "delete"}).raise_for_status()
    api.post(
        f"/workspaces/{api.get(f'/users/me/workspace/{prefix}kept').json()['id']}/builds",
        json={"transition": "delete"},
    ).raise_for_status()
    for _ in range(1200):
        if not api.get("/workspaces", params={"q": f"name:{prefix}"}).json()["count"]:
            return
        time.sleep(0.1)


def wait_connected(api: object, ids: list[str]) -> None:
    left = set(ids)
    for _ in range(600):
        for workspace in api.get("/workspaces", params={"limit": 300}).json()["workspaces"]:  # type: ignore[attr-defined]
            build = workspace["latest_build"]
            if build["job"]["status"] in ("failed", "canceled"):
                raise SystemExit(f"build: {build['job']}")
            agents = [a for r in build["resources"] for a in r.get("agents") or []]
            if agents and all(a["status"] == "connected" for a in agents):
                left.discard(workspace["id"])
        if not left:
            return
        time.sleep(0.25)
    raise SystemExit(f"{len(left)} agents did not connect within 120 s")


if __name__ == "__main__":
    main()
