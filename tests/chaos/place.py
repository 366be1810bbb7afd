"""A real server with a built-in and an external provisioner, and the ways to kill each of its processes."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.chaos.world import World, make_archive

ROOT = Path(__file__).parents[2]
TAGS = {"where": "outside"}
PATIENCE_S = 45.0


class Failure(AssertionError):
    """A promise that was not kept."""


class Place:
    """One installation in `root`. `url` stays the same over restarts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.world = root / "world"
        self.world.mkdir()
        self._password = secrets.token_urlsafe(16)
        self._port = _free_port()
        self._key_file = root / "outside.key"
        self._log = (root / "log").open("ab")
        self.url = f"http://127.0.0.1:{self._port}"
        self.client = httpx.AsyncClient(base_url=f"{self.url}/api/v2", timeout=15)
        self.server: subprocess.Popen[bytes] | None = None
        self.outside: dict[str, subprocess.Popen[bytes]] = {}
        self.templates: dict[str, str] = {}

    async def open(self) -> None:
        """Starts everything and imports the template twice: for each kind of provisioner."""
        await self.start_server()
        body = {"email": "ada@example.com", "password": self._password}
        reply = await self.client.post("/users/login", json=body)
        self.client.headers["Coder-Session-Token"] = reply.json()["session_token"]
        key = await self.call("POST", "/organizations/default/provisionerkeys", {"name": "outside", "tags": TAGS})
        self._key_file.write_text(key["key"])
        self._key_file.chmod(0o600)
        self.start_outside("outside")
        archive = make_archive(self.world)
        for name, tags in (("built-in", {}), ("outside", TAGS)):
            self.templates[name] = await self._push(name, archive, tags)

    async def close(self) -> None:
        """Ends everything."""
        await self.client.aclose()
        for process in self.outside.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            _end(process)
        if self.server:
            _end(self.server)
        for directory in self.world.iterdir():
            if directory.is_dir():
                World(self.world, directory.name).clear()
        self._log.close()

    async def start_server(self) -> None:
        """Starts the server and waits until it answers."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DEVYARD_", "CODER_"))},
            "PYTHONPATH": str(ROOT / "src"),
            "DEVYARD_FIRST_USER_EMAIL": "ada@example.com",
            "DEVYARD_FIRST_USER_USERNAME": "ada",
            "DEVYARD_FIRST_USER_PASSWORD": self._password,
        }
        self.server = subprocess.Popen(
            [
                *(sys.executable, "-m", "devyard", "server", "--data-dir", str(self.root / "data")),
                *("--http-address", f"127.0.0.1:{self._port}", "--provisioners", "1"),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if (await self.client.get(f"{self.url}/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
        raise Failure(f"the server is not ready after 60 s, see {self.root / 'log'}")

    def start_outside(self, name: str) -> None:
        """Starts an external provisioner, as a service manager does."""
        environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "HOME": str(self.root)}
        self.outside[name] = subprocess.Popen(
            [
                *(sys.executable, "-m", "devyard", "provisioner", "start", "--url", self.url, "--name", name),
                *("--key-file", str(self._key_file), "--cache-dir", str(self.root / name)),
                *("--log-format", "json"),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Asks the API, again while it is away. Raises Failure for an answer that is an error."""
        reply = await self.ask(method, path, body)
        if reply.status_code >= 400:
            raise Failure(f"{method} {path}: {reply.status_code} {reply.text}")
        return reply.json() if reply.content else None

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """The API's answer, once it gives one that is not about itself being away."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                reply = await self.client.request(method, path, json=body)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if reply.status_code < 500:
                    return reply
                problem = f"{reply.status_code} {reply.text}"
            if time.monotonic() > deadline:
                raise Failure(f"{method} {path}: no answer within {PATIENCE_S:.0f} s ({problem})")
            await asyncio.sleep(0.05)

    async def read_state(self, build_id: str) -> bytes:
        """The state that is saved."""
        return (await self.ask("GET", f"/workspacebuilds/{build_id}/state")).content

    def find(self, *words: str) -> list[psutil.Process]:
        """The server's processes whose command has all these words."""
        assert self.server
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.server.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if all(word in " ".join(process.cmdline()) for word in words):
                        found.append(process)
        return found

    def find_workers(self, where: str) -> list[psutil.Process]:
        """The processes in which Terraform runs, of the built-in or the external provisioner."""
        if where == "built-in":
            return self.find("worker.py")
        found = []
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.outside["outside"].pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "worker.py" in " ".join(process.cmdline()):
                        found.append(process)
        return found

    async def _push(self, name: str, archive: bytes, tags: dict[str, str]) -> str:
        headers = {"Content-Type": "application/x-tar"}
        file_id = (await self.client.post("/files", content=archive, headers=headers)).json()["hash"]
        body = {"storage_method": "file", "file_id": file_id, "provisioner": "terraform", "tags": tags}
        version = await self.call("POST", "/organizations/default/templateversions", body)
        deadline = time.monotonic() + 60
        while (found := await self.call("GET", f"/templateversions/{version['id']}"))["job"]["status"] in (
            "pending",
            "running",
        ):
            if time.monotonic() > deadline:
                raise Failure(f"the import does not end: {found['job']}")
            await asyncio.sleep(0.05)
        if found["job"]["status"] != "succeeded":
            raise Failure(f"the import failed: {found['job']}")
        template = {"name": name, "template_version_id": version["id"]}
        return str((await self.call("POST", "/organizations/default/templates", template))["id"])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(25)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
