"""A real agent process against in-test peers, and OpenSSH's own clients."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import devyard
from tests.e2e.agent.peers import TOKEN, ControlServer, Relay, control_server, relay

SOURCE = str(Path(devyard.__file__).parent.parent)
START = "from devyard.cli.agent import agent; agent(prog_name='devyard agent')"


@dataclass
class Result:
    code: int
    out: bytes
    err: bytes


@dataclass
class Workspace:
    """A running agent with its peers."""

    control: ControlServer
    relay: Relay
    home: Path
    process: asyncio.subprocess.Process | None = None
    variables: dict[str, str] = field(default_factory=dict)

    async def start(self, *flags: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "SHELL": "/bin/bash",
            "PYTHONPATH": SOURCE,
            "CODER_AGENT_URL": self.control.url,
            "CODER_AGENT_TOKEN": TOKEN,
            **self.variables,
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            START,
            f"--log-dir={self.home}/logs",
            f"--script-data-dir={self.home}/data",
            *flags,
            env=environment,
            cwd="/",
            stderr=(self.home / "agent.log").open("ab"),
        )

    async def stop(self, timeout_s: float = 15.0) -> int:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(timeout_s):
            return await self.process.wait()

    @property
    def log(self) -> str:
        return (self.home / "agent.log").read_text()

    def ssh_options(self) -> list[str]:
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "BatchMode": "yes",
            "Port": str(self.relay.ssh_port),
        }
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    async def ssh(self, *words: str, stdin: bytes = b"", flags: tuple[str, ...] = ()) -> Result:
        return await self.run("ssh", "-F", "none", *self.ssh_options(), *flags, "u@127.0.0.1", *words, stdin=stdin)

    async def run(
        self, *argv: str, stdin: bytes = b"", timeout_s: float = 60.0, variables: dict[str, str] | None = None
    ) -> Result:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(variables or {})},
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Result(process.returncode, out, err)


@pytest.fixture
async def idle_workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    """Peers without a running agent: the test starts it."""
    async with control_server() as control, relay() as made_relay:
        control.manifest = devyard_manifest(control, made_relay)
        workspace = Workspace(control, made_relay, tmp_path)
        try:
            yield workspace
        finally:
            if workspace.process is not None and workspace.process.returncode is None:
                workspace.process.kill()
                await workspace.process.wait()


def devyard_manifest(control: ControlServer, made_relay: Relay) -> "object":
    import msgspec

    return msgspec.structs.replace(control.manifest, relays=[made_relay.access])


@pytest.fixture
async def workspace(idle_workspace: Workspace) -> Workspace:
    """A workspace whose agent is ready."""
    await idle_workspace.start()
    await idle_workspace.control.wait_state("ready")
    return idle_workspace
