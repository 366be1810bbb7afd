"""Files through a workspace's SSH server with the programs that people use."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.agent.conftest import Workspace


def _ssh_command(workspace: Workspace) -> str:
    return "ssh -F none " + " ".join(workspace.ssh_options())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_sftp_moves_a_file_both_ways_and_lists(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    local = tmp_path_factory.mktemp("local")
    (local / "a.bin").write_bytes(os.urandom(3_000_001))
    batch = f"put {local}/a.bin b.bin\nmkdir d\nrename b.bin d/c.bin\nget d/c.bin {local}/back.bin\n"
    batch += "ls -l d\nrm d/c.bin\nrmdir d\n"
    result = await workspace.run(
        "sftp", "-F", "none", "-b", "-", *workspace.ssh_options(), "u@127.0.0.1", stdin=batch.encode()
    )
    assert result.code == 0, result.err
    assert _digest(local / "back.bin") == _digest(local / "a.bin")
    assert b"3000001" in result.out
    assert not (workspace.home / "d").exists()


@pytest.mark.parametrize("flags", [(), ("-O",)])
async def test_scp_with_both_protocols(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, flags: tuple[str, ...]
) -> None:
    local = tmp_path_factory.mktemp("local")
    (local / "tree" / "sub").mkdir(parents=True)
    (local / "tree" / "sub" / "x").write_bytes(os.urandom(200_000))
    (local / "tree" / "sub" / "x").chmod(0o751)
    options = ("scp", "-F", "none", *flags, "-rp", *workspace.ssh_options())
    up = await workspace.run(*options, f"{local}/tree", "u@127.0.0.1:")
    assert up.code == 0, up.err
    assert _digest(workspace.home / "tree/sub/x") == _digest(local / "tree/sub/x")
    assert (workspace.home / "tree/sub/x").stat().st_mode & 0o777 == 0o751
    down = await workspace.run(*options, "u@127.0.0.1:tree", f"{local}/back")
    assert down.code == 0, down.err
    assert _digest(local / "back/sub/x") == _digest(local / "tree/sub/x")


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
async def test_rsync_sends_only_what_changed(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    local = tmp_path_factory.mktemp("local")
    for index in range(50):
        (local / f"f{index}").write_bytes(os.urandom(20_000))
    argv = ("rsync", "-a", "--stats", "-e", _ssh_command(workspace), f"{local}/", "u@127.0.0.1:mirror/")
    first = await workspace.run(*argv)
    assert first.code == 0, first.err
    assert all(_digest(workspace.home / f"mirror/f{n}") == _digest(local / f"f{n}") for n in range(50))
    second = await workspace.run(*argv)
    assert b"Number of regular files transferred: 0" in second.out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_git_clone_and_push(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    local = tmp_path_factory.mktemp("local")
    variables = {
        "GIT_SSH_COMMAND": _ssh_command(workspace),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.com",
    }
    bare = workspace.home / "repo.git"
    for argv in (
        ("git", "init", "-q", "--bare", "-b", "main", str(bare)),
        ("git", "clone", "-q", f"u@127.0.0.1:{bare}", str(local / "r")),
        ("git", "-C", str(local / "r"), "checkout", "-q", "-B", "main"),
        ("git", "-C", str(local / "r"), "commit", "-q", "--allow-empty", "-m", "first"),
        ("git", "-C", str(local / "r"), "push", "-q", "origin", "main"),
    ):
        result = await workspace.run(*argv, variables=variables)
        assert result.code == 0, (argv, result.err)
    log = await workspace.run("git", "--git-dir", str(bare), "log", "--format=%s", "main")
    assert log.out == b"first\n"


async def test_transfers_can_be_blocked(idle_workspace: Workspace) -> None:
    await idle_workspace.start("--block-file-transfer")
    await idle_workspace.control.wait_state("ready")
    sftp = await idle_workspace.run(
        "sftp", "-F", "none", "-b", "-", *idle_workspace.ssh_options(), "u@127.0.0.1", stdin=b"ls\n"
    )
    assert sftp.code != 0
    scp = await idle_workspace.ssh("scp -f x")
    assert (scp.code, scp.err) == (65, b"File transfer is blocked in this workspace.\n")
    assert (await idle_workspace.ssh("echo works")).out == b"works\n"
