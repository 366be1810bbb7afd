"""The SSH client for machines without an `ssh` binary: asyncssh over a stream that is open already.

Called by command.py. Shell with a terminal of the right size, or a command with its own stdin, stdout and stderr;
the exit status is the command's.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

import asyncssh

from devyard.cli.connect.agentstream import AgentStream
from devyard.cli.failures import CommandFailed
from devyard.cli.ssh.openssh import SshRequest, render_known_hosts

CHUNK_BYTES = 64 * 1024


def run_pythonssh(stream: AgentStream, request: SshRequest) -> int:
    """Runs the session to its end; its exit status."""
    if type(stream.socket).__name__ == "SSLSocket":
        raise CommandFailed("Without an ssh program, sessions work over http relays only. Install openssh-client.")
    try:
        return asyncio.run(_run(stream, request))
    except asyncssh.Error as error:
        raise CommandFailed(f"The SSH session failed: {error.reason}") from None


async def _run(stream: AgentStream, request: SshRequest) -> int:
    connection = await asyncssh.connect(
        request.host,
        sock=stream.socket,
        config=None,
        username="devyard",
        client_keys=None,
        preferred_auth="none",
        known_hosts=asyncssh.import_known_hosts(render_known_hosts(request.host, stream.host_keys)),
        agent_path=request.identity_agent or os.environ.get("SSH_AUTH_SOCK") if request.forwards_agent else None,
        agent_forwarding=request.forwards_agent,
    )
    async with connection:
        for forward in request.remote_forwards:
            await _forward(connection, forward)
        return await _run_process(connection, request)
    raise AssertionError("asyncssh's connection suppresses nothing")


async def _run_process(connection: asyncssh.SSHClientConnection, request: SshRequest) -> int:
    has_terminal = not request.command and sys.stdin.isatty()
    options: dict[str, Any] = {"encoding": None, "env": dict(item.split("=", 1) for item in request.environment)}
    if has_terminal:
        options |= {"term_type": os.environ.get("TERM", "xterm"), "term_size": tuple(shutil.get_terminal_size())}
    command = " ".join(request.command) or None
    process: asyncssh.SSHClientProcess[bytes] = await connection.create_process(command, **options)
    loop = asyncio.get_running_loop()
    if has_terminal:
        loop.add_signal_handler(signal.SIGWINCH, lambda: process.change_terminal_size(*shutil.get_terminal_size()))
    with _raw_terminal() if has_terminal else contextlib.nullcontext():
        feeder = asyncio.create_task(_feed(process))
        await asyncio.gather(_drain(process.stdout, 1), _drain(process.stderr, 2))
        await process.wait_closed()
        feeder.cancel()
    if process.exit_signal is not None:
        number = getattr(signal, f"SIG{process.exit_signal[0]}", signal.SIGTERM)
        return 128 + int(number)
    return process.exit_status if process.exit_status is not None else 255


async def _feed(process: "asyncssh.SSHClientProcess[bytes]") -> None:
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.run_in_executor(None, os.read, 0, CHUNK_BYTES)
        if not data:
            process.stdin.write_eof()
            return
        process.stdin.write(data)
        await process.stdin.drain()


async def _drain(reader: "asyncssh.SSHReader[bytes]", fd: int) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(CHUNK_BYTES):
        await loop.run_in_executor(None, _write_all, fd, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


async def _forward(connection: asyncssh.SSHClientConnection, forward: str) -> None:
    parts = forward.split(":")
    if len(parts) != 3 or not (parts[0].isdigit() and parts[2].isdigit()):
        raise CommandFailed(f"--remote-forward {forward!r} can't be read; write PORT:HOST:HOSTPORT.")
    await connection.forward_remote_port("127.0.0.1", int(parts[0]), parts[1], int(parts[2]))


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
