"""A relay and an agent in one: answers the stream upgrade, then serves what the stream's head asks for."""

import asyncio
import base64
import json
import socket
import threading
from types import TracebackType

import asyncssh


class _OpenServer(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def _run_process(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    environment = {_text(name): _text(value) for name, value in process.env.items()}
    child = await asyncio.create_subprocess_shell(
        process.command or "exec sh",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    await process.stdout.drain()
    await process.stderr.drain()
    process.exit(await child.wait())


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class FakeRelay:
    """Serves on a loopback port from a thread with a loop of its own."""

    def __init__(self) -> None:
        self.heads: list[dict[str, object]] = []
        self.tickets: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        """Answered to the next streams instead, in order."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        self._key = key
        self.host_key = key.export_public_key().decode().strip()
        self._ready = threading.Event()

    def __enter__(self) -> "FakeRelay":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ssh = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_OpenServer,
            server_host_keys=[self._key],
            process_factory=_run_process,
            encoding=None,
            sftp_factory=True,
            allow_scp=True,
        )
        server = await asyncio.start_server(self._on_connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._ssh.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        line = fields["Devyard-Stream-Head"]
        wanted = json.loads(base64.urlsafe_b64decode(line + "=" * (-len(line) % 4)))
        self.heads.append(wanted)
        self.tickets.append(fields["Authorization"])
        if self.refusals:
            status, message = self.refusals.pop(0)
            body = json.dumps({"message": message}).encode()
            writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            writer.close()
            return
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: devyard-stream\r\n\r\n")
        await self._bridge(wanted, reader, writer)

    async def _bridge(
        self, wanted: dict[str, object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if wanted["kind"] == "ping":
            writer.write(b"{}\n")
            await _copy(reader, writer)
            return
        port = self._ssh.get_port() if wanted["kind"] == "ssh" else int(str(wanted["port"]))
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            writer.write(json.dumps({"error": f"connection refused: {error}"}).encode() + b"\n")
            writer.close()
            return
        writer.write(b"{}\n")
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
