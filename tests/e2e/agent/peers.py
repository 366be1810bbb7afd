"""What an agent talks to, reduced to the protocol: a control server, a relay, and a port that leads to SSH."""

import asyncio
import contextlib
import http
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from devyard.net.splice import splice_sockets
from devyard.wire import agentlink
from devyard.wire.agentlink import AgentMessage, Manifest, ServerMessage
from devyard.wire.streams import RelayAccess, StreamHead

SCRIPT_SOURCE = UUID("11111111-1111-1111-1111-111111111111")
_decode = msgspec.msgpack.Decoder(AgentMessage).decode
_encode = msgspec.msgpack.Encoder().encode
TOKEN = "agent-token"


def make_manifest(**fields: object) -> Manifest:
    values: dict[str, object] = {
        "agent_id": uuid4(),
        "agent_name": "main",
        "workspace_id": uuid4(),
        "workspace_name": "dev",
        "owner_id": uuid4(),
        "owner_name": "ada",
        "owner_full_name": "Ada L.",
        "owner_email": "ada@example.com",
        "access_url": "http://127.0.0.1",
        "directory": "",
        "environment": {"FROM_TEMPLATE": "yes"},
        "motd_file": "",
        "startup_behavior": "non-blocking",
        "scripts": [],
        "metadata": [],
        "apps": [],
        "relays": [],
    }
    return msgspec.convert(values | fields, Manifest)


def make_script(text: str, **fields: object) -> agentlink.Script:
    values: dict[str, object] = {
        "id": uuid4(),
        "log_source_id": SCRIPT_SOURCE,
        "display_name": "script",
        "script": text,
        "log_path": "",
        "cron": "",
        "run_on_start": False,
        "run_on_stop": False,
        "start_blocks_login": False,
        "timeout_s": 0,
    }
    return msgspec.convert(values | fields, agentlink.Script)


class ControlServer:
    """Accepts one agent at a time, keeps what it sends, acknowledges while `is_acking`."""

    def __init__(self) -> None:
        self.manifest = make_manifest()
        self.messages: list[AgentMessage] = []
        self.connections = 0
        self.connected_at = 0.0
        self.is_acking = True
        self.refusals: list[tuple[int, str]] = []
        self.held = asyncio.Event()
        self.held.set()
        self.tokens: list[str | None] = []
        self.current: ServerConnection | None = None
        self._changed = asyncio.Condition()
        self.url = ""

    async def send(self, message: ServerMessage) -> None:
        assert self.current is not None
        await self.current.send(_encode(message))

    async def wait_for(self, found: Callable[[], bool], timeout_s: float = 15.0) -> None:
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(found)

    async def wait_state(self, state: str, timeout_s: float = 15.0) -> None:
        await self.wait_for(lambda: state in self.states, timeout_s)

    @property
    def states(self) -> list[str]:
        return [message.state for message in self.messages if isinstance(message, agentlink.Lifecycle)]

    @property
    def lines(self) -> list[str]:
        return [
            line.output
            for message in self.messages
            if isinstance(message, agentlink.Logs) and message.source_id == SCRIPT_SOURCE
            for line in message.lines
        ]

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [message for message in self.messages if isinstance(message, kind)]

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tokens.append(request.headers.get("Coder-Session-Token"))
        if self.refusals:
            status, message = self.refusals.pop(0)
            body = json.dumps({"message": message}) if message else "<html>"
            async with self._changed:
                self._changed.notify_all()
            return connection.respond(http.HTTPStatus(status), body)
        await self.held.wait()
        return None

    async def handle(self, connection: ServerConnection) -> None:
        self.current = connection
        self.connections += 1
        self.connected_at = time.monotonic()
        await connection.send(_encode(self.manifest))
        async with self._changed:
            self._changed.notify_all()
        async for data in connection:
            assert isinstance(data, bytes)
            message = _decode(data)
            async with self._changed:
                self.messages.append(message)
                self._changed.notify_all()
            if self.is_acking and not isinstance(message, agentlink.Hello):
                await connection.send(_encode(agentlink.Ack(message.seq)))


@contextlib.asynccontextmanager
async def control_server() -> AsyncIterator[ControlServer]:
    control = ControlServer()
    async with serve(
        control.handle, "127.0.0.1", 0, process_request=control.admit, compression=None, open_timeout=60
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        control.url = f"http://127.0.0.1:{port}"
        yield control


class Relay:
    """Takes an agent's spares, and joins each connection to `ssh_port` with one of them."""

    def __init__(self) -> None:
        self.spares: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.dials = 0
        self.url = ""
        self.ssh_port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def access(self) -> RelayAccess:
        return RelayAccess(self.url, "ticket", 1 << 40)

    async def open(self, head: StreamHead) -> tuple[socket.socket, dict[str, str]]:
        """A client's stream and the agent's reply to its head."""
        loop = asyncio.get_running_loop()
        sock = await self.spares.get()
        await loop.sock_sendall(sock, b'{"type":"open","stream_id":"s1"}\n' + msgspec.json.encode(head) + b"\n")
        assert json.loads(await _read_line(sock)) == {"type": "accept"}
        return sock, json.loads(await _read_line(sock))

    async def serve_agent(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = await loop.sock_recv(sock, 1)
                if not byte:
                    break
                head += byte
            else:
                await self._keep_spare(sock, head)
                continue
            sock.close()  # an agent that ended while it dialed

    async def _keep_spare(self, sock: socket.socket, head: bytes) -> None:
        assert b"Authorization: Bearer ticket" in head
        self.dials += 1
        answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: devyard-stream\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(sock, answer)
        self.spares.put_nowait(sock)

    async def serve_ssh(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.start(self._join(sock))

    async def _join(self, client: socket.socket) -> None:
        agent, reply = await self.open(StreamHead("ssh"))
        assert not reply.get("error")
        await splice_sockets(client, agent, None)

    def start(self, work: "asyncio.Future[None]") -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self.spares.empty():
            self.spares.get_nowait().close()


async def _read_line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = await asyncio.get_running_loop().sock_recv(sock, 1)
        assert data, f"the stream ended after {line!r}"
        line += data
    return line


@contextlib.asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    made = Relay()
    listeners = []
    for _ in range(2):
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        listener.setblocking(False)
        listeners.append(listener)
    made.url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    made.ssh_port = listeners[1].getsockname()[1]
    made.start(made.serve_agent(listeners[0]))
    made.start(made.serve_ssh(listeners[1]))
    try:
        yield made
    finally:
        await made.close()
        for listener in listeners:
            listener.close()
