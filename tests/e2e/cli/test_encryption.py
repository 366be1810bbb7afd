"""`devyard server encryption` beside a real server, and what that server does without its key."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "devyard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def server(data: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A server without provisioners; killed in any case."""
    command = [sys.executable, "-m", "devyard", "server", "--data-dir", str(data)]
    command += ["--http-address", "127.0.0.1:0", "--provisioners", "0", "--log-level", "debug"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_for_text(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_rotation_beside_a_running_server_and_a_lost_key(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    path = data / "encryption.keys"
    with server(data, log) as process:
        wait_for_text(log, "Devyard is ready", process)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        first = path.read_text()
        shown = run("server", "encryption", "status", "--data-dir", str(data))
        assert shown.returncode == 0, shown.stderr
        assert "seals" in shown.stdout
        # The flag stands on either side.
        rotated = run("server", "--data-dir", str(data), "encryption", "rotate")
        assert rotated.returncode == 0, rotated.stderr
        assert "Every secret is sealed with the key" in rotated.stdout
        wait_for_text(log, "seals with another key", process)
        reply = run("server", "encryption", "status", "--data-dir", str(data), "-o", "json")
        status = json.loads(reply.stdout)
        assert [(key["is_writer"], key["values"] > 0) for key in status["keys"]] == [(True, True), (False, False)]
        both = path.read_text()
        keys = [line for line in (first + both).splitlines() if not line.startswith("#")]
        assert len(set(keys)) == 2
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        seen = "".join(" ".join([*p.cmdline(), *p.environ().values()]) for p in family)
        seen += log.read_text() + shown.stdout + rotated.stdout + rotated.stderr + reply.stdout
        assert not [key for key in keys if key[:16] in seen]
    missing = run("server", "encryption", "status", "--data-dir", str(data))
    assert "No database runs" in missing.stderr
    os.rename(path, tmp_path / "lost")
    log.write_text("")
    with server(data, log) as process:
        assert process.wait(60) == 1
    said = [line for line in log.read_text().splitlines() if line.startswith("The server cannot start.")]
    assert len(said) == 1
    assert status["keys"][0]["id"] in said[0]
    assert str(path) in said[0]
    os.rename(tmp_path / "lost", path)
    log.write_text("")
    with server(data, log) as process:
        wait_for_text(log, "Devyard is ready", process)
