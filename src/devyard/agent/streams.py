"""Serves one opened stream: SSH, a TCP connection, or an echo.

Called by spares.py for each client that a relay attached. The SSH server is loaded in a thread after the
agent has connected (asyncssh costs more to import than everything else together); a stream that comes
earlier waits for that.
"""

import asyncio
import importlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from devyard.agent.ssh.context import Counts, SSHContext
from devyard.net.dial import OpenedStream
from devyard.net.rawsock import connect_tcp
from devyard.net.splice import PipePool, splice_sockets

SSH_LOAD_PAUSE_S, SSH_LOAD_LATEST_S = 1.0, 15.0
CONNECT_TIMEOUT_S = 10.0
ECHO_BYTES = 16 * 1024


class StreamServer:
    """What streams of this agent lead to."""

    def __init__(self, make_context: Callable[[], SSHContext], counts: Counts) -> None:
        self._make_context = make_context
        self._counts = counts
        self._pipes = PipePool()
        self._loading: asyncio.Task[ModuleType] | None = None

    def load_ssh(self) -> "asyncio.Task[ModuleType]":
        """Begins to import the SSH server, once."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(
                asyncio.to_thread(importlib.import_module, "devyard.agent.ssh.server")
            )
        return self._loading

    async def load_ssh_early(self) -> None:
        """Imports the SSH server before the first stream wants it, once the machine has a core to spare.

        Where many workspaces start at once, all their agents connect before any does this.
        """
        waited_s = 0.0
        while waited_s < SSH_LOAD_LATEST_S and _is_machine_busy():
            await asyncio.sleep(SSH_LOAD_PAUSE_S)
            waited_s += SSH_LOAD_PAUSE_S
        await asyncio.shield(self.load_ssh())

    async def serve(self, opened: OpenedStream) -> None:
        """Greets the client and serves it until either side ends."""
        self._counts.connections += 1
        try:
            if opened.head.kind == "ssh":
                await self._serve_ssh(opened)
            elif opened.head.kind == "tcp":
                await self._serve_tcp(opened)
            else:
                await _echo(await opened.accept())
        finally:
            self._counts.connections -= 1

    def close(self) -> None:
        """Closes what is kept between streams."""
        self._pipes.close()

    async def _serve_ssh(self, opened: OpenedStream) -> None:
        sock = await opened.accept()
        await asyncio.shield(self.load_ssh())
        from devyard.agent.ssh.server import serve

        await serve(sock, self._make_context())

    async def _serve_tcp(self, opened: OpenedStream) -> None:
        head = opened.head
        if not 0 < head.port < 65536:
            await opened.refuse(f"{head.port} is no port number (1 to 65535).")
            return
        host = head.host or "localhost"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                target = await connect_tcp(host, head.port, _send_at_once)
        except TimeoutError:
            await opened.refuse(f"{host}:{head.port} did not answer within {CONNECT_TIMEOUT_S:g} s.")
            return
        except OSError as error:
            reason = os.strerror(error.errno) if isinstance(error.errno, int) and error.errno > 0 else str(error)
            await opened.refuse(f"No connection to {host}:{head.port} in the workspace: {reason}.")
            return
        try:
            sock = await opened.accept()
            result = await splice_sockets(sock, target, self._pipes)
            self._counts.rx_bytes += result.bytes_forward
            self._counts.tx_bytes += result.bytes_back
        finally:
            target.close()


def _send_at_once(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _echo(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, ECHO_BYTES):
        await loop.sock_sendall(sock, data)


def _is_machine_busy() -> bool:
    """Whether more threads want to run than there are cores (the fourth field of /proc/loadavg)."""
    try:
        running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
    except (OSError, IndexError):
        return False
    return int(running) > 2 * (os.cpu_count() or 1)
