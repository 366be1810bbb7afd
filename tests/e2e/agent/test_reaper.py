"""The agent as process 1 of a container: orphans are reaped, signals reach it, its exit code gets out."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.agent.conftest import SOURCE, Workspace
from tests.e2e.agent.peers import TOKEN


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
async def test_as_process_1(idle_workspace: Workspace) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(idle_workspace.home),
        "PYTHONPATH": SOURCE,
        "CODER_AGENT_URL": idle_workspace.control.url,
        "CODER_AGENT_TOKEN": TOKEN,
    }
    argv = ("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "devyard", "agent")
    process = await asyncio.create_subprocess_exec(
        *argv, f"--script-data-dir={idle_workspace.home}", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    idle_workspace.process = process
    await idle_workspace.control.wait_state("ready")
    (reaper,) = children_of(process.pid)
    ran = await idle_workspace.ssh("(sh -c 'exit 0' & sh -c 'exit 1' &); echo parent is $PPID")
    assert ran.code == 0
    async with asyncio.timeout(10):
        while len(children_of(reaper)) != 1:  # only the agent: orphans came and went
            await asyncio.sleep(0.02)
    os.kill(reaper, signal.SIGTERM)
    async with asyncio.timeout(15):
        assert await process.wait() == 0
    assert idle_workspace.control.states[-1] == "off"
