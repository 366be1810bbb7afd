"""The whole path, told in order: a template becomes a workspace that one enters, leaves, stops and deletes.

Real PostgreSQL, real Terraform, real processes, a real OpenSSH client. The tests of this module share one server
and build on each other, so they run in order in one worker (xdist's `loadfile`).
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.main_job.conftest import Devyard

pytestmark = pytest.mark.slow

WORKSPACE = "dev"


def test_a_starter_template_is_pushed(devyard: Devyard, tmp_path: Path) -> None:
    directory = tmp_path / "local"
    devyard.run("templates", "init", "--id", "local", str(directory))
    assert (directory / "main.tf").is_file()
    devyard.run("templates", "push", "local", "-d", str(directory), "--yes")
    templates = json.loads(devyard.run("templates", "list", "-o", "json").stdout)
    names = [(t.get("Template") or t)["name"] for t in templates]
    assert names == ["local"]


def test_a_workspace_is_created_and_its_agent_connects(devyard: Devyard) -> None:
    devyard.run("create", WORKSPACE, "--template", "local", "--yes")
    (workspace,) = json.loads(devyard.run("list", "-o", "json").stdout)
    assert workspace["name"] == WORKSPACE
    assert workspace["latest_build"]["status"] == "running"
    assert workspace["latest_build"]["build_number"] == 1


def test_a_wrong_parameter_is_refused_by_name(devyard: Devyard) -> None:
    refused = devyard.run(
        "create", "wrong", "--template", "local", "--parameter", "cpus=1000000", "--yes", check=False
    )
    assert refused.returncode != 0
    assert "cpus" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_ssh_runs_commands_and_passes_exit_codes(devyard: Devyard) -> None:
    assert devyard.run("ssh", WORKSPACE, "--", "echo", "hello from inside").stdout.strip() == "hello from inside"
    assert devyard.run("ssh", WORKSPACE, "--", "exit 7", check=False).returncode == 7
    whoami = devyard.run("ssh", WORKSPACE, "--", "id -un; pwd").stdout.split()
    assert whoami[0] == "dev"


def test_the_workspace_sees_neither_the_server_nor_its_neighbours(devyard: Devyard) -> None:
    secret = devyard.root / "data" / "internal.key"
    assert secret.is_file()
    seen = devyard.run("ssh", WORKSPACE, "--", f"cat {secret}; ls {devyard.root}/data; ps -e | wc -l", check=False)
    assert secret.read_text().strip() not in seen.stdout
    assert "server.json" not in seen.stdout


def test_plain_openssh_tools_work_by_host_name(devyard: Devyard, tmp_path: Path) -> None:
    config = Path(devyard.environment["HOME"]) / ".ssh" / "config"
    devyard.run("config-ssh", "--yes", "--ssh-config-file", str(config))
    ssh = f"ssh -F {config}"
    host = f"{WORKSPACE}.devyard"
    assert devyard.shell(f"{ssh} {host} 'echo $((6*7))'").strip() == "42"

    payload = tmp_path / "payload.bin"
    payload.write_bytes(os.urandom(3_000_000))
    digest = hashlib.sha256(payload.read_bytes()).hexdigest()
    devyard.shell(f"scp -F {config} {payload} {host}:scp.bin")
    devyard.shell(f"printf 'put {payload} sftp.bin\\n' | sftp -b - -F {config} {host}")
    sums = devyard.shell(f"{ssh} {host} sha256sum scp.bin sftp.bin").split()
    assert sums[0] == sums[2] == digest

    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "c.txt").write_text("c")
    if shutil.which("rsync"):
        devyard.shell(f"rsync -a -e '{ssh}' {tree}/ {host}:tree/")
        assert devyard.shell(f"{ssh} {host} cat tree/a/b/c.txt") == "c"

    devyard.shell(f"{ssh} {host} 'git init -q --bare repo.git'")
    clone = tmp_path / "clone"
    devyard.shell(
        f"git config --global user.email ada@example.com; git config --global user.name Ada;"
        f"export GIT_SSH_COMMAND='{ssh}'; git clone -q {host}:repo.git {clone} && cd {clone} && echo x > x &&"
        f" git add x && git commit -qm x && git push -q origin HEAD:main"
    )
    assert devyard.shell(f"{ssh} {host} git --git-dir repo.git log --format=%s main").strip() == "x"


def test_port_forward_reaches_a_server_in_the_workspace(devyard: Devyard) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inside = free.getsockname()[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        outside = free.getsockname()[1]
    script = f"mkdir -p www && echo forwarded > www/index.html && cd www && exec python3 -m http.server {inside}"
    serve = subprocess.Popen(
        [sys.executable, "-m", "devyard", "ssh", WORKSPACE, "--", script],
        env=devyard.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    forward = subprocess.Popen(
        [sys.executable, "-m", "devyard", "port-forward", WORKSPACE, "--tcp", f"{outside}:{inside}"],
        env=devyard.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{outside}/", timeout=5).text == "forwarded\n"
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        for process in (forward, serve):
            process.terminate()
            process.wait(15)


def test_ping_and_logs(devyard: Devyard) -> None:
    assert "ms" in devyard.run("ping", WORKSPACE, "-n", "2").stdout
    assert devyard.run("logs", WORKSPACE).stdout.strip()


def test_home_survives_stop_and_start(devyard: Devyard) -> None:
    devyard.run("ssh", WORKSPACE, "--", "echo kept > kept.txt")
    devyard.run("stop", WORKSPACE, "--yes")
    (workspace,) = json.loads(devyard.run("list", "-o", "json").stdout)
    assert workspace["latest_build"]["status"] == "stopped"
    # ssh starts a stopped workspace by itself.
    assert devyard.run("ssh", WORKSPACE, "--", "cat kept.txt").stdout == "kept\n"
    (workspace,) = json.loads(devyard.run("list", "-o", "json").stdout)
    assert workspace["latest_build"]["status"] == "running"
    assert workspace["latest_build"]["build_number"] == 3


def test_delete_leaves_nothing(devyard: Devyard) -> None:
    devyard.run("delete", WORKSPACE, "--yes")
    assert json.loads(devyard.run("list", "-o", "json").stdout) == []
    sandboxes = devyard.root / "data" / "sandboxes"
    leftovers = [p for p in sandboxes.rglob("*") if p.is_file() and "kept" in p.name]
    assert leftovers == []
    devyard.run("templates", "delete", "local", "--yes")
