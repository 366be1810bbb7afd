"""ssh, ping, port-forward and speedtest over a real stream: relay and agent are one thread of this test."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from devyard.wire.agents import AgentConnectionInfo
from devyard.wire.streams import RelayAccess
from devyard.wire.workspaces import Workspace, WorkspaceAgent
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import Asked, FakeApi, make_agent, make_build, make_workspace, with_agent
from tests.unit.cli.fakerelay import FakeRelay, free_port

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs an OpenSSH client")


@dataclass
class Yard:
    """A signed-in CLI, and a running workspace `dev` with one agent."""

    api: FakeApi
    relay: FakeRelay
    workspace: Workspace
    agent: WorkspaceAgent
    environment: dict[str, str]

    def spawn(self, *arguments: str, **options: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "devyard", *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        process = self.spawn(*arguments)
        out, err = process.communicate(stdin, 60)
        return process.returncode, out, err


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    with FakeRelay() as fake:
        yield fake


@pytest.fixture
def yard(signed_in: FakeApi, relay: FakeRelay, config_dir: Path) -> Yard:
    agent = make_agent()
    workspace = with_agent(make_workspace(), agent)
    access = AgentConnectionInfo(True, "devyard", [RelayAccess(relay.url, "a-ticket", 0)], [relay.host_key])
    signed_in.on("GET /users/me/workspace/dev", (200, workspace))
    signed_in.on("GET /users/ada/workspace/dev", (200, workspace))
    signed_in.on(f"GET /workspaces/{workspace.id}", (200, workspace))
    signed_in.on(f"GET /workspaceagents/{agent.id}", (200, agent))
    signed_in.on(f"GET /workspaceagents/{agent.id}/connection", (200, access))
    signed_in.on(f"POST /workspaces/{workspace.id}/usage", (204, None))
    return Yard(signed_in, relay, workspace, agent, dict(os.environ))


def test_a_command_has_its_own_streams_and_status(yard: Yard) -> None:
    status, out, err = yard.run("ssh", "dev", "--", "cat; echo oops >&2; exit 7", stdin=b"bytes \x00\xff")
    assert (status, out, err) == (7, b"bytes \x00\xff", b"oops\n")
    assert yard.relay.heads == [{"kind": "ssh"}]
    assert yard.relay.tickets == ["Bearer a-ticket"]
    assert [f"{a.method} {a.path.split('/')[1]}" for a in yard.api.asked if a.method == "GET"] == [
        "GET users",
        "GET workspaceagents",
    ]


def test_nothing_of_ours_stays_behind(yard: Yard, tmp_path: Path) -> None:
    runtime = Path("/tmp") / f"devyard-test-{os.getpid()}"
    runtime.mkdir(mode=0o700)
    yard.environment["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        assert yard.run("ssh", "dev", "--", "true")[0] == 0
        assert list(runtime.iterdir()) == []
    finally:
        shutil.rmtree(runtime)


def test_environment_and_agent_with_blanks(yard: Yard) -> None:
    status, out, _ = yard.run("ssh", "ada/dev.main", "-e", 'A=b "c" d', "-e", "E=", "--", 'echo "[$A][$E]"')
    assert (status, out) == (0, b'[b "c" d][]\n')


def test_the_agents_host_key_is_verified(yard: Yard) -> None:
    wrong = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAqiNcoo1QFzKvznayRsvNqOxIEtFH4wvshSHhV0du+T"
    access = AgentConnectionInfo(True, "devyard", [RelayAccess(yard.relay.url, "t", 0)], [wrong])
    yard.api.on(f"GET /workspaceagents/{yard.agent.id}/connection", (200, access))
    status, out, err = yard.run("ssh", "dev", "--", "echo never")
    assert status == 255
    assert out == b""
    assert b"erification failed" in err


def test_without_an_ssh_program_the_same(yard: Yard) -> None:
    yard.environment["PATH"] = "/nonexistent"
    status, out, err = yard.run(
        "ssh", "dev", "-e", "A=b c", "--", 'cat; echo "$A"; echo oops >&2; exit 7', stdin=b"x"
    )
    assert (status, out, err) == (7, b"xb c\n", b"oops\n")


def test_plain_openssh_by_host_name_verifies_the_agent(yard: Yard, cli: Cli, tmp_path: Path) -> None:
    reply = {"hostname_prefix": "", "hostname_suffix": "devyard", "ssh_config_options": {}}
    yard.api.on("GET /deployment/ssh", (200, reply))
    config = tmp_path / "ssh-config"
    assert cli("config-ssh", "--yes", "--ssh-config-file", str(config)).status == 0

    def ssh(*words: str) -> "subprocess.CompletedProcess[bytes]":
        command = ["ssh", "-F", str(config), *words]
        return subprocess.run(
            command, env=yard.environment, capture_output=True, timeout=60, stdin=subprocess.DEVNULL
        )

    done = ssh("dev.devyard", "echo hello; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hello\n", b"")
    known = (tmp_path / "config" / "known_hosts").read_text()
    assert known == f"dev.devyard {' '.join(yard.relay.host_key.split()[:2])}\n"
    payload = os.urandom(2_000_000)
    command = ["ssh", "-F", str(config), "dev.devyard", "cat"]
    echoed = subprocess.run(command, env=yard.environment, capture_output=True, timeout=60, input=payload)
    assert echoed.stdout == payload


def test_editors_get_a_stream_figures_and_a_log(yard: Yard, tmp_path: Path) -> None:
    figures, logs = tmp_path / "net", tmp_path / "logs"
    process = yard.spawn(
        *("ssh", "--stdio", "--disable-autostart", "--usage-app=vscode", "--network-info-dir", str(figures)),
        *("--network-info-interval", "500ms", "--log-dir", str(logs), "-v"),
        *("--ssh-host-prefix", "coder-vscode.dev.example--", "coder-vscode.dev.example--ada--dev"),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(b"SSH-2.0-AsyncSSH")
        path = figures / f"{os.getpid()}.json"
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        content = json.loads(path.read_text())
        assert set(content) == {
            *("p2p", "latency", "preferred_derp", "derp_latency", "upload_bytes_sec", "download_bytes_sec"),
            "using_coder_connect",
        }
        assert content["latency"] > 0
        usage = yard.api.bodies(f"POST /workspaces/{yard.workspace.id}/usage")
        assert usage == [{"agent_id": str(yard.agent.id), "app_name": "vscode"}]
    finally:
        process.stdin.close()
        process.stdout.read()
        assert process.wait(20) == 0
    assert not path.exists()
    (log,) = logs.iterdir()
    assert "stream open through" in log.read_text()
    assert "a-ticket" not in log.read_text()


def test_a_stopped_workspace_is_started_first(yard: Yard) -> None:
    stopped = msgspec.structs.replace(
        yard.workspace, latest_build=make_build(yard.workspace.id, transition="stop", status="stopped")
    )
    build = make_build(yard.workspace.id)

    def start(asked: Asked) -> tuple[int, object]:
        yard.api.on(f"GET /workspacebuilds/{build.id}", (200, build))
        yard.api.on(f"GET /workspacebuilds/{build.id}/logs", (200, []))
        return 201, build

    yard.api.on("GET /users/me/workspace/dev", (200, stopped))
    yard.api.on(f"POST /workspaces/{yard.workspace.id}/builds", start)
    status, out, err = yard.run("ssh", "dev", "--", "echo in")
    assert (status, out) == (0, b"in\n"), err
    assert b"Starting workspace dev" in err
    (request,) = yard.api.bodies(f"POST /workspaces/{yard.workspace.id}/builds")
    assert (request["transition"], request["reason"]) == ("start", "ssh_connection")
    refused = yard.run("ssh", "dev", "--disable-autostart", "--", "true")
    assert refused[0] == 1
    assert b"devyard start dev" in refused[2]


def test_a_connection_that_ended_with_its_workspace_says_so(yard: Yard) -> None:
    assert b"Workspace dev" not in yard.run("ssh", "dev", "--", "exit 255")[2]
    stopping = make_build(yard.workspace.id, transition="stop", status="stopping")
    ended = msgspec.structs.replace(yard.workspace, latest_build=stopping)
    yard.api.on(f"GET /workspaces/{yard.workspace.id}", (200, ended))
    status, _, err = yard.run("ssh", "dev", "--", "exit 255")
    assert status == 255
    assert b"Workspace dev is stopping." in err


def test_an_agent_on_its_way_back_is_waited_for(yard: Yard) -> None:
    yard.relay.refusals = [(503, "The agent is not connected to this relay."), (429, "Too many streams.")]
    assert yard.run("ssh", "dev", "--", "echo in")[1] == b"in\n"
    assert len(yard.relay.heads) == 3


def test_an_agent_that_never_comes_is_explained(cli: Cli, yard: Yard) -> None:
    lost = msgspec.structs.replace(yard.agent, status="timeout", connection_timeout_seconds=1)
    yard.api.on("GET /users/me/workspace/dev", (200, with_agent(yard.workspace, lost)))
    yard.api.on(f"GET /workspaceagents/{yard.agent.id}", (200, lost))
    done = cli("ssh", "dev", "--", "true")
    assert done.status == 1
    assert "Agent main has not connected within 1 s" in done.err


def test_targets_that_are_not_there(cli: Cli, yard: Yard) -> None:
    assert "no workspace 'nope'" in cli("ssh", "nope").err
    assert "has no agent 'x'; it has: main" in cli("ssh", "dev.x").err
    yard.api.on(
        "GET /users/me/workspace/dev", (200, with_agent(yard.workspace, make_agent(), make_agent(name="b")))
    )
    assert "several agents: main, b. Say which: dev.main" in cli("ssh", "dev").err
    yard.api.on("GET /users/me/workspace/dev", (200, make_workspace()))
    assert "has no agent" in cli("ssh", "dev").err


def test_ping(cli: Cli, yard: Yard) -> None:
    done = cli("ping", "dev", "-n", "3", "--wait", "1ms")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("pong from dev.main via http://127.0.0.1:")
    assert lines[-1].startswith("3 sent, 3 answered; min ")


def test_speedtest_counts_what_came_back(cli: Cli, yard: Yard) -> None:
    done = cli("speedtest", "dev", "--output", "json", "-t", "500ms")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["overall"]["throughput_mbits"] > 1
    assert report["intervals"]


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_port_forward_carries_many_connections(yard: Yard) -> None:
    inside = HTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=inside.serve_forever, args=(0.01,), daemon=True).start()
    outside, dead = free_port(), free_port()
    process = yard.spawn(
        "port-forward", "dev", "--tcp", f"{outside}:{inside.server_port}", "--tcp", f"{dead}:{free_port()}"
    )
    try:
        for number in range(8):
            assert f"/{number}".encode() in _get(outside, f"/{number}")
        assert _get(dead, "/") == b""
        assert b"/after" in _get(outside, "/after")
    finally:
        process.send_signal(2)
        _, err = process.communicate(timeout=20)
        inside.shutdown()
        inside.server_close()
    assert process.returncode == 0
    assert b"refused" in err
    assert b"Traceback" not in err


def _get(port: int, path: str) -> bytes:
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                data = b""
                while chunk := sock.recv(65536):
                    data += chunk
                return data
        except ConnectionResetError:
            return b""
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_taken_port_fails_at_once(cli: Cli, yard: Yard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("port-forward", "dev", "--tcp", f"{taken.getsockname()[1]}:80")
    assert done.status == 1
    assert "can't be opened here: Address already in use. Choose" in done.err
    assert "--tcp 8080:80" in cli("port-forward", "dev").err
