"""A `devyard server` on this machine as quickstart's child: started, waited for, ended.

Called by command.py. Invariants: a server that runs on the data directory already is used, not doubled; what
was started here is ended here, and gently; when it dies, its last words are shown.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from devyard.cli.failures import CommandFailed
from devyard.sdk.http import HttpConnection, TransportError

START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0
LOG_NAME = "server.log"
MAX_LOG_BYTES = 8 << 20
SHOWN_LINES = 25


class Record(NamedTuple):
    """What `server.json` says."""

    pid: int
    url: str
    address: str


class LocalServer:
    """The server of one data directory; `is_ours` when this process started it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.url = self.address = ""
        self.options: list[str] = []
        """Further options of a server that is started here."""
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def is_ours(self) -> bool:
        return self._child is not None

    def find_running(self) -> bool:
        """Whether a server answers for this data directory already."""
        record = read_record(self.data_dir)
        if record is None or not _is_alive(record.pid) or not is_ready(record.url):
            return False
        self.url, self.address = record.url, record.address
        return True

    def start(self, http_address: str) -> None:
        """Starts one and waits until it is ready. Raises CommandFailed with its last lines when it is not."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "devyard", "server", "--data-dir", str(self.data_dir)]
        with self._open_log() as log:
            self._child = subprocess.Popen(
                [*command, "--http-address", http_address, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the workspace's shell is not meant for it
            )
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                self._child = None
                raise CommandFailed(f"The server ended while starting. Its last lines:\n{self.last_lines()}")
            record = read_record(self.data_dir)
            if record is not None and record.pid == self._child.pid and is_ready(record.url):
                self.url, self.address = record.url, record.address
                return
            time.sleep(0.05)
        self.stop()
        raise CommandFailed(
            f"The server was not ready in {START_LIMIT_S:g} s. Its last lines:\n{self.last_lines()}"
        )

    def wait(self) -> None:
        """Until the server ends by itself. Raises CommandFailed with its last lines."""
        assert self._child is not None
        status = self._child.wait()
        self._child = None
        if status != 0:
            raise CommandFailed(f"The server ended with status {status}. Its last lines:\n{self.last_lines()}")

    def stop(self) -> None:
        """Ends what was started here."""
        child, self._child = self._child, None
        if child is None or child.poll() is not None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def last_lines(self) -> str:
        """The end of the server's log, indented."""
        try:
            data = (self.data_dir / LOG_NAME).read_bytes()[-16_384:]
        except OSError:
            return "    (none)"
        return "\n".join(f"    {line}" for line in data.decode(errors="replace").splitlines()[-SHOWN_LINES:])

    def _open_log(self) -> BinaryIO:
        path = self.data_dir / LOG_NAME
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > MAX_LOG_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def read_record(data_dir: Path) -> Record | None:
    """`server.json`, or None."""
    try:
        content = json.loads((data_dir / "server.json").read_bytes())
        return Record(int(content["pid"]), str(content["access_url"]), str(content["address"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_ready(url: str) -> bool:
    """Whether a server answers there and says that it is ready."""
    try:
        connection = HttpConnection(url, timeout_s=5)
        try:
            return connection.request("GET", "/readyz").status == 200
        finally:
            connection.close()
    except (TransportError, ValueError):
        return False


def choose_address(wanted: str) -> str:
    """`wanted`, or a free port of the same host where something else listens there."""
    host, _, port = wanted.rpartition(":")
    with contextlib.suppress(OSError, ValueError), socket.create_server((host.strip("[]"), int(port))):
        return wanted
    with socket.create_server((host.strip("[]") or "127.0.0.1", 0)) as free:
        return f"{host}:{free.getsockname()[1]}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
