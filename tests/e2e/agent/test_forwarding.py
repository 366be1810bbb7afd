"""Ports and unix sockets through SSH, and plain TCP streams."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from devyard.wire.streams import StreamHead
from tests.e2e.agent.conftest import Workspace


async def _shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def shouter(path: Path | None = None) -> AsyncIterator[int]:
    server = await (
        asyncio.start_unix_server(_shout, path) if path else asyncio.start_server(_shout, "127.0.0.1", 0)
    )
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask(port: int = 0, path: Path | None = None) -> bytes:
    """Asks a shouter, waiting until somebody listens."""
    async with asyncio.timeout(15):
        while True:
            try:
                reader, writer = await (
                    asyncio.open_unix_connection(path) if path else asyncio.open_connection("127.0.0.1", port)
                )
                break
            except OSError:
                await asyncio.sleep(0.03)
        writer.write(b"hello")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


@contextlib.asynccontextmanager
async def forwarding(workspace: Workspace, *flags: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        "ssh",
        "-F",
        "none",
        "-N",
        "-o",
        "ExitOnForwardFailure=yes",
        *workspace.ssh_options(),
        *flags,
        "u@127.0.0.1",
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def test_local_port(workspace: Workspace) -> None:
    port = free_port()
    async with shouter() as target, forwarding(workspace, "-L", f"{port}:127.0.0.1:{target}"):
        assert await ask(port) == b"HELLO"


async def test_remote_port(workspace: Workspace) -> None:
    port = free_port()
    async with shouter() as target, forwarding(workspace, "-R", f"{port}:127.0.0.1:{target}"):
        assert await ask(port) == b"HELLO"


async def test_local_unix_socket(workspace: Workspace) -> None:
    remote, local = workspace.home / "r.sock", workspace.home / "l.sock"
    async with shouter(remote), forwarding(workspace, "-L", f"{local}:{remote}"):
        assert await ask(path=local) == b"HELLO"


async def test_remote_unix_socket_replaces_a_dead_one(workspace: Workspace) -> None:
    remote = workspace.home / "r.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(remote))
    async with shouter() as target, forwarding(workspace, "-R", f"{remote}:127.0.0.1:{target}"):
        assert await ask(path=remote) == b"HELLO"


async def test_tcp_stream_and_its_refusal(workspace: Workspace) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), shouter() as target:
        sock, reply = await workspace.relay.open(StreamHead("tcp", "127.0.0.1", target))
        assert reply == {}
        await loop.sock_sendall(sock, b"stream")
        sock.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(sock, 100) == b"STREAM"
        sock.close()
    async with asyncio.timeout(20):
        port = free_port()
        sock, reply = await workspace.relay.open(StreamHead("tcp", "127.0.0.1", port))
        assert str(port) in reply["error"]
        assert "refused" in reply["error"].lower()
        assert await loop.sock_recv(sock, 1) == b""
        sock.close()


async def test_ping_stream_echoes(workspace: Workspace) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        sock, reply = await workspace.relay.open(StreamHead("ping"))
        assert reply == {}
        await loop.sock_sendall(sock, b"abc")
        assert await loop.sock_recv(sock, 100) == b"abc"
        sock.close()


async def test_taken_spares_are_replaced(workspace: Workspace) -> None:
    async with asyncio.timeout(20):
        streams = [await workspace.relay.open(StreamHead("ping")) for _ in range(12)]
    assert workspace.relay.dials >= 12
    for sock, _ in streams:
        sock.close()
