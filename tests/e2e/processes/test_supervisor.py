"""The server as a family of processes: start, second start, kill -9 at the worst moment, clean end."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from devyard.server.processes.datadir import read_info
from tests.e2e.processes.harness import ROOT, Server, alive, fetch, wait_for


@pytest.fixture
def family():
    """Every process a test has seen; none may be left at its end."""
    seen = []
    yield seen
    wait_for(lambda: not alive(seen), 15, f"the end of {alive(seen)}")


def test_sigterm_leaves_nothing(tmp_path, family):
    server = Server(tmp_path / "data", postgres_url=None)
    family += server.family()
    names = " ".join(command for _, _, command in family)
    assert all(word in names for word in ("proxy start", "server api", "postgres"))
    assert server.ready_line == f"Devyard is ready at {server.url}"
    run_dirs = {Path(part.split("=")[1]).parent for _, _, command in family for part in command.split()
                if part.startswith("unix_socket_directories=")}  # fmt: skip
    assert len(run_dirs) == 1
    assert fetch(server.url).json()["starts"] == 1
    data_dir = tmp_path / "data"
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    for name in ("internal.key", "server.json", "relay.sock", "server.lock"):
        assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
    assert server.stop() == 0
    assert alive(family) == []
    assert not (data_dir / "server.json").exists()
    assert not any(directory.exists() for directory in run_dirs)


def test_a_second_server_says_who_is_there(tmp_path, family):
    first = Server(tmp_path)
    family += first.family()
    second = Server(tmp_path, ready_timeout_s=0)
    assert second.process.wait(10) == 1
    wait_for(lambda: second.lines)
    assert f"pid {first.pid}, {first.url}" in second.lines[-1]
    assert "--data-dir" in second.lines[-1]
    assert fetch(first.url).status_code == 200
    assert read_info(tmp_path).pid == first.pid
    assert first.stop() == 0


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        server = Server(tmp_path, http_address=address, ready_timeout_s=0)
        assert server.process.wait(15) == 1
        wait_for(lambda: server.lines)
        assert address in server.lines[-1]
        assert "--http-address" in server.lines[-1]


def test_kill_9_and_start_again_keeps_data_and_port(tmp_path, family):
    """Everything that belongs to the killed server is gone or in nobody's way, embedded PostgreSQL included."""
    address = "127.0.0.1:0"
    for start in range(1, 5):
        server = Server(tmp_path, postgres_url=None, http_address=address)
        family += server.family()
        assert fetch(server.url).json()["starts"] == start
        address = f"127.0.0.1:{server.port}"
        if start % 2:
            server.stop(signal.SIGKILL)
        else:
            # The postmaster too, so that its lock file and its orphaned backends are left.
            postmaster = server.child("postgres", "-D")
            os.kill(server.pid, signal.SIGSTOP)
            os.kill(postmaster.pid, signal.SIGKILL)
            server.stop(signal.SIGKILL)
    last = Server(tmp_path, postgres_url=None, http_address=address)
    assert last.stop() == 0
    wait_for(lambda: not alive(family))


def test_a_stale_lock_file_with_a_foreign_pid_does_not_hinder(tmp_path, family):
    server = Server(tmp_path, postgres_url=None)
    family += server.family()
    lock_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    text = lock_file.read_text()
    assert server.stop() == 0
    lines = text.splitlines()
    lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    again = Server(tmp_path, postgres_url=None)
    family += again.family()
    assert fetch(again.url).json()["starts"] == 2
    assert again.stop() == 0
    assert psutil.pid_exists(os.getpid())


def test_an_interrupted_first_start_is_repeated(tmp_path, family):
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Server(tmp_path, postgres_url=None)
    family += server.family()
    assert fetch(server.url).json()["starts"] == 1
    assert not half.exists()
    assert server.stop() == 0


@pytest.mark.parametrize("words", [("proxy", "start"), ("server", "api"), ("postgres", "-D")])
def test_a_killed_child_comes_back(tmp_path, family, words):
    server = Server(tmp_path, postgres_url=None)
    family += server.family()
    victim = server.child(*words)
    victim.kill()
    wait_for(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
    wait_for(lambda: any('"child_ended"' in line and "signal SIGKILL" in line for line in server.lines))
    wait_for(
        lambda: [
            p for p in psutil.Process(server.pid).children() if all(w in " ".join(p.cmdline()) for w in words)
        ]
    )
    assert fetch(server.url).status_code == 200
    family += server.family()
    assert server.stop() == 0


def begin_request(server, path):
    """A connection with a request that the application works on: it has asked for the body, and has it."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    sock.sendall(head.encode())
    assert sock.recv(100).startswith(b"HTTP/1.1 100")
    sock.sendall(b"x")
    return sock


def test_a_request_under_way_is_finished_at_the_end(tmp_path, family):
    server = Server(tmp_path)
    family += server.family()
    with begin_request(server, "/slow?1.0") as sock:
        began = time.monotonic()
        assert server.stop() == 0
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 8


def test_an_api_that_cannot_start_ends_the_server_with_a_reason(tmp_path, family):
    server = Server(tmp_path, ready_timeout_s=0, postgres_url="postgresql://devyard@/x?host=/nonexistent")
    assert server.process.wait(20) == 1
    wait_for(lambda: any("cannot start" in line and "API" in line for line in server.lines))
    assert not (tmp_path / "server.json").exists()


def test_secrets_stand_neither_in_arguments_nor_in_environments(tmp_path, family):
    os.environ["DEVYARD_FIRST_USER_PASSWORD"] = "hunter2-of-the-test"
    try:
        server = Server(tmp_path)
    finally:
        del os.environ["DEVYARD_FIRST_USER_PASSWORD"]
    family += server.family()
    key = (tmp_path / "internal.key").read_text().strip()
    assert len(key) == 64
    children = psutil.Process(server.pid).children(recursive=True)
    assert len(children) == 2
    for child in children:
        seen = " ".join(child.cmdline()) + str(child.environ())
        assert "hunter2-of-the-test" not in seen
        assert key not in seen
    assert "hunter2-of-the-test" not in "".join(server.lines)
    assert server.stop() == 0


def test_the_command_refuses_wrong_settings():
    done = subprocess.run(
        [sys.executable, "-m", "devyard", "server", "--provisioners", "many"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        timeout=30,
    )
    assert done.returncode == 1
    assert "--provisioners" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without root already")
@pytest.mark.root
def test_everything_works_without_root_too(tmp_path, family):
    """In a user namespace this process's user has an ordinary number and no rights but those on its own files."""
    namespace = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    server = Server(tmp_path / "d", postgres_url=None, wrap=namespace)
    family += server.family()
    assert fetch(server.url).json()["starts"] == 1
    postgres = server.child("postgres", "-D")
    assert "/install/" not in postgres.cmdline()[0]
    server.stop(signal.SIGKILL)
    wait_for(lambda: not alive(family))
    again = Server(tmp_path / "d", postgres_url=None, wrap=namespace)
    family += again.family()
    assert fetch(again.url).json()["starts"] == 2
    assert again.stop() == 0


def test_a_data_directory_with_a_long_path(tmp_path, family):
    deep = tmp_path.joinpath(*["a-directory-with-a-long-name"] * 6)
    server = Server(deep, postgres_url=None)
    family += server.family()
    assert len(str(deep)) > 160
    assert fetch(server.url).json()["starts"] == 1
    assert server.stop() == 0


def test_the_same_signal_twice_at_once_is_one_order(tmp_path, family):
    server = Server(tmp_path)
    family += server.family()
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(15) == 0
    assert not any("ending_at_once" in line for line in server.lines)


def test_a_second_signal_skips_the_patience(tmp_path, family):
    server = Server(tmp_path)
    family += server.family()
    with begin_request(server, "/slow?60") as sock:
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        assert time.monotonic() - began < 8
        assert sock.recv(100) == b""
