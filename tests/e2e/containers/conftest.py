"""A container engine of the tests' own, and an image for it that borrows the machine's programs.

The engine keeps everything below a temporary directory and listens on a unix socket in it. Where it can't start
the tests are skipped, and fail where `CI` is set.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BORROWED = ("/usr", "/bin", "/lib", "/lib64", "/etc/alternatives", "/etc/ssl")
EMPTY = ("tmp", "proc", "dev", "sys", "home/dev", *(path.lstrip("/") for path in BORROWED))


@dataclass
class Engine:
    """A running engine; `host` is its address, `image` the image that is there."""

    host: str
    image: str

    def docker(self, *arguments: str, input: bytes | None = None) -> str:
        """Runs the engine's client; fails with its output if it fails."""
        done = subprocess.run(
            ["docker", "-H", self.host, *arguments], input=input, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"docker {arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One engine for the module."""
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("docker"):
        _give_up("dockerd and docker have to be installed, and root to start them")
    # Short: the engine's sockets have long names below it.
    directory = Path(tempfile.mkdtemp(prefix="dye-", dir="/tmp"))
    log = directory / "log"
    process = subprocess.Popen(
        [
            "dockerd",
            *("--data-root", directory / "data", "--exec-root", directory / "exec", "-p", directory / "pid"),
            *("-H", f"unix://{directory}/docker.sock", "--bridge", "none", "--iptables=false"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log.open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        made = Engine(f"unix://{directory}/docker.sock", "devyard-test:1")
        _wait_started(made, process, log)
        made.docker("import", "-", made.image, input=_make_image())
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for mount in (directory / "exec" / "netns").glob("*"):
            subprocess.run(["umount", mount], check=False, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`docker run` options that bring the machine's programs, this Python and `devyard` in, read-only."""
    programs = tmp_path_factory.mktemp("programs")
    command = programs / "devyard"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec "{sys.executable}" -m devyard "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    places = {
        *(path for path in BORROWED if Path(path).exists()),
        *(str(Path(path)) for path in (sys.prefix, sys.base_prefix, ROOT / "src", programs)),
    }
    mounts = " ".join(f"-v '{path}:{path}:ro'" for path in sorted(places))
    return f"{mounts} -e PATH='{programs}:/usr/bin:/bin'"


def _wait_started(engine: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        done = subprocess.run(["docker", "-H", engine.host, "version"], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    _give_up(f"the engine does not start: {text[-2000:]}")


def _make_image() -> bytes:
    """Only directories: what runs is borrowed from the machine."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path in EMPTY:
            member = tarfile.TarInfo(path)
            member.type, member.mode = tarfile.DIRTYPE, 0o777 if path == "tmp" else 0o755
            archive.addfile(member)
        users = b"root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000::/home/dev:/bin/sh\n"
        member = tarfile.TarInfo("etc/passwd")
        member.size = len(users)
        archive.addfile(member, io.BytesIO(users))
    return target.getvalue()


def _give_up(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
