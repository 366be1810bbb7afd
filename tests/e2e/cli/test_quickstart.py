"""`devyard quickstart` as scripts/try calls it: from nothing to a workspace, an end by signal, and back again."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
DEVYARD = [sys.executable, "-m", "devyard"]


class Quickstart:
    """One run without a terminal."""

    def __init__(self, home: Path, log: Path) -> None:
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("DEVYARD_", "CODER_", "XDG_"))}
        self.environment = {**keep, "HOME": str(home)}
        self.log = log
        options = ["--data-dir", str(home / "data"), "--http-address", "127.0.0.1:0"]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*DEVYARD, "quickstart", *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def wait_serving(self) -> str:
        """The URL, once it serves."""
        deadline = time.monotonic() + 120
        while "Serving until" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return next(line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("  URL"))

    def devyard(self, *arguments: str) -> str:
        done = subprocess.run(
            [*DEVYARD, *arguments], env=self.environment, capture_output=True, text=True, timeout=90
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def test_from_nothing_and_back_again(tmp_path: Path) -> None:
    first = Quickstart(tmp_path, tmp_path / "first.log")
    try:
        url = first.wait_serving()
        assert first.devyard("ssh", "dev", "--", "echo kept > kept.txt; id -un").strip() == "dev"
        assert "admin/dev" in first.devyard("list")
        kept = tmp_path / "data" / "quickstart.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert first.end(signal.SIGTERM) == 0
    finally:
        first.process.kill()
    assert not (tmp_path / "data" / "server.json").exists()

    second = Quickstart(tmp_path, tmp_path / "second.log")
    try:
        assert second.wait_serving() == url
        assert second.devyard("ssh", "dev", "--", "cat kept.txt") == "kept\n"
        second.devyard("delete", "dev", "--yes")
        assert second.end(signal.SIGINT) == 0
    finally:
        second.process.kill()


def test_a_server_that_dies_shows_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "postgres").write_text("in the way")
    run = Quickstart(tmp_path, tmp_path / "log")
    try:
        assert run.process.wait(120) == 1
    finally:
        run.process.kill()
    said = run.log.read_text()
    assert "The server ended while starting. Its last lines:" in said
    assert "quickstart.py" not in said
