"""A Devyard server of a benchmark's own: started, signed in to, and ended."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

PYTHON = [sys.executable, "-m", "devyard"]


class BenchServer:
    """Data and log lie under `root`; `environment` is what its commands run with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.password = secrets.token_urlsafe(18)
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("DEVYARD_", "CODER_"))}
        self.environment = {**keep, "HOME": str(root)}
        self.url = ""

    def start(self) -> tuple[subprocess.Popen[bytes], float]:
        record = self.root / "data" / "server.json"
        record.unlink(missing_ok=True)
        began = time.perf_counter()
        process = subprocess.Popen(
            [*PYTHON, "server", "--data-dir", str(self.root / "data"), "--http-address", "127.0.0.1:0"],
            env={
                **self.environment,
                "DEVYARD_FIRST_USER_EMAIL": "bench@example.com",
                "DEVYARD_FIRST_USER_USERNAME": "bench",
                "DEVYARD_FIRST_USER_PASSWORD": self.password,
            },
            stdout=(self.root / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        while time.perf_counter() - began < 60:
            try:
                self.url = json.loads(record.read_text())["access_url"]
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return process, (time.perf_counter() - began) * 1000
            except (OSError, ValueError, httpx.HTTPError):
                pass
            time.sleep(0.01)
        raise SystemExit((self.root / "server.log").read_text()[-4000:])

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    def sign_in(self) -> httpx.Client:
        """A client of the API; the command line is signed in too."""
        login = httpx.post(
            f"{self.url}/api/v2/users/login", json={"email": "bench@example.com", "password": self.password}
        )
        token = login.json()["session_token"]
        self.cli("login", self.url, "--token", token)
        return httpx.Client(base_url=f"{self.url}/api/v2", headers={"Coder-Session-Token": token}, timeout=60)

    def cli(self, *arguments: str) -> None:
        """Runs a command to its end."""
        subprocess.run([*PYTHON, *arguments], env=self.environment, check=True, stdout=subprocess.DEVNULL)
