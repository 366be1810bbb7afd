"""The server's end of the provisioner's link, for tests: hands out jobs, keeps what comes back, acknowledges."""

import asyncio
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from devyard.wire.provisionerlink import (
    CHUNK_BYTES,
    KEY_HEADER,
    Archive,
    BuildDone,
    BuildJob,
    Cancel,
    Drain,
    DryRunDone,
    DryRunJob,
    Failed,
    FileChunk,
    FileRequest,
    FromProvisioner,
    ImportDone,
    ImportJob,
    InFlight,
    Job,
    JobLogLine,
    Limits,
    Logs,
    LostState,
    Ready,
    Register,
    Renew,
    StateSaved,
    Stored,
)

KEY = "a key of the test"
_decode = msgspec.msgpack.Decoder(FromProvisioner).decode
_encode = msgspec.msgpack.Encoder().encode

Work = ImportJob | BuildJob | DryRunJob
Result = ImportDone | BuildDone | DryRunDone | Failed


def pack(files: Mapping[str, str]) -> bytes:
    """A tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o755 if text.startswith("#!") else 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Ticket:
    """A job that was handed out, with all that came back."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lines: list[JobLogLine] = []
        self.states: list[StateSaved] = []
        self.renewals = 0
        self.logs_seq = 0
        self.in_flight: list[InFlight] = []
        self.results: list[Result] = []
        self.ended = asyncio.Event()
        self.changed = asyncio.Condition()

    @property
    def text(self) -> str:
        return "\n".join(line.output for line in self.lines)

    async def result(self, timeout_s: float = 60) -> Result:
        await asyncio.wait_for(self.ended.wait(), timeout_s)
        return self.results[0]

    async def wait_line(self, part: str, timeout_s: float = 30) -> None:
        await self._wait(lambda: part in self.text, timeout_s)

    async def wait_state(self, part: bytes, timeout_s: float = 30) -> None:
        await self._wait(lambda: any(part in state.state for state in self.states), timeout_s)

    async def _wait(self, is_there, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s), self.changed:
            await self.changed.wait_for(is_there)


class LinkServer:
    """Speaks to one provisioner at a time."""

    def __init__(self) -> None:
        self.url = ""
        self.registrations: list[Register] = []
        self.file_requests = 0
        self.is_acknowledging = True
        self.refusal = ""
        self.connection: ServerConnection | None = None
        self.ready = asyncio.Event()
        self.offers: list[LostState] = []
        self.tickets: dict[UUID, Ticket] = {}
        self._archives: dict[UUID, bytes] = {}

    async def submit(
        self, archive: bytes, work: Work, *, sha256: str = "", limits: Limits | None = None
    ) -> Ticket:
        """Hands out a job once the provisioner is free."""
        await asyncio.wait_for(self.ready.wait(), 60)
        self.ready.clear()
        digest = sha256 or hashlib.sha256(archive).hexdigest()
        file_id = uuid4()
        self._archives[file_id] = archive
        described = Archive(file_id, digest, len(archive))
        ticket = Ticket(Job(uuid4(), uuid4(), uuid4(), described, work, limits=limits or Limits()))
        self.tickets[ticket.job.job_id] = ticket
        await self.send(ticket.job)
        return ticket

    async def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        await self.send(Cancel(ticket.job.job_id, force))

    async def drain(self) -> None:
        await self.send(Drain())

    async def cut(self) -> None:
        """Drops the connection without a word."""
        assert self.connection
        self.connection.transport.abort()

    async def send(self, message: msgspec.Struct) -> None:
        assert self.connection
        await self.connection.send(_encode(message))

    async def handle(self, connection: ServerConnection) -> None:
        assert connection.request
        assert connection.request.headers[KEY_HEADER] == KEY
        assert connection.request.path == "/api/v2/organizations/default/provisionerdaemons/serve"
        self.connection = connection
        self.ready.clear()
        try:
            async for data in connection:
                await self._take(_decode(data))
        except ConnectionClosed:
            pass

    async def _take(self, message) -> None:
        if isinstance(message, Register):
            self.registrations.append(message)
        elif isinstance(message, Ready):
            self.ready.set()
        elif isinstance(message, FileRequest):
            self.file_requests += 1
            await self._send_file(message.file_id)
        else:
            await self._take_for_job(message)

    async def _take_for_job(self, message) -> None:
        ticket = self.tickets[message.job_id]
        if isinstance(message, LostState):
            self.offers.append(message)
            await self._acknowledge(message)
            return
        assert message.lease_id == ticket.job.lease_id
        if isinstance(message, Logs):
            assert len(message.lines) <= 200
            if message.seq > ticket.logs_seq:
                ticket.logs_seq = message.seq
                ticket.lines += message.lines
            await self._acknowledge(message)
        elif isinstance(message, InFlight):
            ticket.in_flight.append(message)
        elif isinstance(message, Renew):
            ticket.renewals += 1
        elif isinstance(message, StateSaved):
            ticket.states.append(message)
            await self._acknowledge(message)
        else:
            ticket.results.append(message)
            await self._acknowledge(message)
            ticket.ended.set()
        async with ticket.changed:
            ticket.changed.notify_all()

    async def _acknowledge(self, message) -> None:
        if self.is_acknowledging:
            refusal = "" if isinstance(message, Logs) else self.refusal
            await self.send(Stored(message.job_id, message.seq, refusal))

    async def _send_file(self, file_id: UUID) -> None:
        data = self._archives[file_id]
        for offset in range(0, max(1, len(data)), CHUNK_BYTES):
            part = data[offset : offset + CHUNK_BYTES]
            await self.send(FileChunk(file_id, offset, part, offset + len(part) == len(data)))


@asynccontextmanager
async def link_server() -> AsyncIterator[LinkServer]:
    server = LinkServer()
    async with serve(server.handle, "127.0.0.1", 0, max_size=64 << 20) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
