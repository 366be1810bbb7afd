"""The embedded database where namespaces are forbidden, and for users whose id has no name."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.processes.harness import Server, alive, fetch, wait_for

CONFINED = [sys.executable, str(Path(__file__).with_name("confined.py"))]
NAMELESS = 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is another user to PostgreSQL")


@pytest.fixture
def open_directory():
    """A directory that every user may enter, unlike tmp_path."""
    directory = Path(tempfile.mkdtemp(prefix="devyard-test-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def nameless_python():
    """A Python of this version that any user may run."""
    with pytest.raises(KeyError):
        pwd.getpwuid(NAMELESS)
    version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"):
        # By way of a shell: setpriv itself still finds programs with the rights of root.
        command = [*drop(), "sh", "-c", 'exec "$0" -c "$1"', python, version]
        if os.path.exists(python) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no Python of this version that any user may run")


def drop():
    return ["setpriv", f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]


def read_as_other(path, group):
    command = ["setpriv", "--reuid=65533", f"--regid={group}", "--clear-groups", "cat", str(path)]
    return subprocess.run(command, capture_output=True, check=False)


@pytest.mark.root
@as_root
def test_without_namespaces_it_runs_in_the_open_and_nothing_is_to_be_seen(open_directory):
    data_dir = open_directory / "data"
    for start in (1, 2, 3):
        server = Server(data_dir, postgres_url=None, wrap=[*CONFINED, "0"])
        family = server.family()
        assert fetch(server.url).json()["starts"] == start
        assert any(f"-D {data_dir}/postgres/data" in command for _, _, command in family)
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o710
        group = data_dir.stat().st_gid
        assert group != 0
        for reader in (group, 65533):
            for secret in ("internal.key", "server.json", "postgres/data/PG_VERSION"):
                assert (data_dir / secret).exists()
                assert read_as_other(data_dir / secret, reader).returncode != 0
        if start == 1:
            server.stop(signal.SIGKILL)
        else:
            assert server.stop() == 0
        wait_for(lambda family=family: not alive(family), 15, "the end of the family")


@pytest.mark.root
@as_root
def test_a_database_left_behind_is_found_without_the_right_to_trace(open_directory):
    server = Server(open_directory / "data", postgres_url=None, wrap=[*CONFINED, "0"])
    postmaster = server.child("postgres", "-D")
    family = [(p.pid, p.create_time(), "postgres") for p in (postmaster, *postmaster.children())]
    postmaster.suspend()
    server.stop(signal.SIGKILL)
    again = Server(open_directory / "data", postgres_url=None, wrap=[*CONFINED, "0"], ready_timeout_s=40)
    assert fetch(again.url).json()["starts"] == 2
    assert alive(family) == []
    assert again.stop() == 0


@pytest.mark.root
@as_root
def test_a_place_that_the_database_cannot_reach_is_named_with_what_to_do(open_directory):
    private = open_directory / "private"
    private.mkdir(mode=0o700)
    server = Server(private / "data", postgres_url=None, wrap=[*CONFINED, "0"], ready_timeout_s=0)
    assert server.process.wait(20) == 1
    wait_for(lambda: server.lines)
    said = server.lines[-1]
    assert f"may not enter {private}." in said
    assert "--data-dir" in said
    assert "--postgres-url" in said
    assert stat.S_IMODE((private / "data").stat().st_mode) == 0o700


@pytest.mark.root
@as_root
def test_a_user_without_a_name_borrows_one(open_directory, nameless_python):
    os.chown(open_directory, NAMELESS, NAMELESS)
    for start in (1, 2):
        server = Server(open_directory / "data", postgres_url=None, wrap=drop(), python=nameless_python)
        assert psutil.Process(server.pid).uids().real == NAMELESS
        assert fetch(server.url).json()["starts"] == start
        assert server.stop() == 0


@pytest.mark.root
@as_root
def test_a_user_without_a_name_and_without_namespaces_learns_what_to_do(open_directory, nameless_python):
    os.chown(open_directory, NAMELESS, NAMELESS)
    wrap = [*CONFINED, "0", *drop()]
    server = Server(
        open_directory / "data", postgres_url=None, wrap=wrap, python=nameless_python, ready_timeout_s=0
    )
    if server.process.wait(20) == 0:
        pytest.skip("nss_wrapper is installed")
    wait_for(lambda: server.lines)
    assert str(NAMELESS) in server.lines[-1]
    assert "--postgres-url" in server.lines[-1]
