"""A whole Devyard as a user starts it, and the CLI as a user runs it."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from devyard.provisioner.sandbox.runtime import Sandboxes


@dataclass
class Devyard:
    """A running server, its address, and a home directory in which the CLI is signed in as its owner."""

    root: Path
    process: subprocess.Popen[bytes]
    url: str
    password: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, input: bytes | None = None, timeout_s: float = 90, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `devyard ARGUMENTS` without a terminal; fail with its output if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "devyard", *arguments],
            env=self.environment,
            input=input,
            capture_output=True,
            timeout=timeout_s,
        )
        result = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )
        if check and done.returncode != 0:
            pytest.fail(f"devyard {' '.join(arguments)} → {done.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def shell(self, command: str, timeout_s: float = 90) -> str:
        """Run a command of the user's own machine (ssh, rsync, git …) with this home directory."""
        done = subprocess.run(
            ["sh", "-c", command], env=self.environment, capture_output=True, timeout=timeout_s, text=True
        )
        assert done.returncode == 0, f"{command} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def start_server(root: Path, password: str) -> subprocess.Popen[bytes]:
    """`devyard server` on a free port with its first user from the environment."""
    environment = {
        **os.environ,
        "DEVYARD_FIRST_USER_EMAIL": "ada@example.com",
        "DEVYARD_FIRST_USER_USERNAME": "ada",
        "DEVYARD_FIRST_USER_PASSWORD": password,
    }
    log = (root / "server.log").open("ab")
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "devyard",
            "server",
            "--data-dir",
            str(root / "data"),
            "--http-address",
            "127.0.0.1:0",
            "--provisioners",
            "2",
        ],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def wait_ready(root: Path, process: subprocess.Popen[bytes], timeout_s: float = 60) -> str:
    """The server's URL, once it says that it is ready."""
    deadline = time.monotonic() + timeout_s
    record = root / "data" / "server.json"
    while time.monotonic() < deadline:
        assert process.poll() is None, (root / "server.log").read_text()
        try:
            url: str = json.loads(record.read_text())["access_url"]
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return url
        except (OSError, ValueError, KeyError, httpx.HTTPError):
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready after {timeout_s} s\n{(root / 'server.log').read_text()}")


@pytest.fixture(scope="module")
def devyard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devyard]:
    """One server for the module's story, ended by SIGTERM."""
    root = tmp_path_factory.mktemp("main-job")
    password = secrets.token_urlsafe(18)
    process = start_server(root, password)
    try:
        url = wait_ready(root, process)
        home = root / "home"
        home.mkdir()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DEVYARD_", "CODER_", "XDG_"))},
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        }
        instance = Devyard(root, process, url, password, environment)
        reply = httpx.post(f"{url}/api/v2/users/login", json={"email": "ada@example.com", "password": password})
        assert reply.status_code == 201, reply.text
        instance.run("login", url, "--token", reply.json()["session_token"])
        yield instance
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            asyncio.run(stop_sandboxes(root / "data" / "sandboxes"))


async def stop_sandboxes(root: Path) -> None:
    """End what a failed test left running: sandboxes outlive their server on purpose."""
    sandboxes = Sandboxes(root)
    for sandbox in await sandboxes.list():
        await sandboxes.stop(sandbox.id)
