"""The provisioner's one connection to the server: takes jobs, runs them, reports, and comes back when cut off.

Contract: devyard.wire.provisionerlink. One job at a time; it goes on while the connection is away and is resumed
under its lease afterwards. Invariant: a result leaves this process only by the server's acknowledgement, or into
a file that an administrator can find (lostresults.py).
"""

import asyncio
import time
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from devyard import __version__
from devyard.provisioner.forms.desk import FormDesk
from devyard.provisioner.jobs.run import run_job
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.delivery import encode_fitting, keep_undelivered
from devyard.provisioner.link.dial import Identity, explain_failure, open_socket
from devyard.provisioner.link.lostresults import Offers
from devyard.provisioner.link.packages import PackageLink
from devyard.provisioner.link.records import open_record
from devyard.provisioner.link.running import Running
from devyard.runtime.backoff import Backoff
from devyard.wire.provisionerlink import (
    API_VERSION,
    LEASE_S,
    Cancel,
    Drain,
    Failed,
    FileChunk,
    FileRequest,
    FormRequest,
    Job,
    Ready,
    Register,
    Renew,
    Stored,
    ToProvisioner,
)
from devyard.wire.provisionerpackages import PackageChunk, PackageWanted

log = structlog.get_logger()

LOG_DELAY_S = 0.05
_LAST_WORDS_S = 5.0
_RECONNECT_S = 4.0
"""The longest wait between two attempts: well below the lease, which goes on while the server is away."""
_LIVED_S = 10.0
_DELIVERY_S = 600.0
_ABANDONED_DELIVERY_S = 5.0
_LOST_LEASE_GRACE_S = 5.0
_TOLD_TO_END = "The build was stopped because its provisioner was told to end; what had been made is kept."
_GIVEN_UP = "The build was stopped because the server had given it up; what had been made is kept."
_SERVER_GONE = "The server was ended while the build ran, so the build was stopped; what had been made is kept."

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ToProvisioner).decode


class Session:
    """The connection and the job. `run` serves until told to end; `lost_directory` takes undelivered states."""

    def __init__(self, identity: Identity, tools: Tools, lost_directory: Path) -> None:
        self._identity = identity
        self._tools = tools
        self._lost_directory = lost_directory
        self._offers = Offers(lost_directory)
        self._packages = PackageLink()
        self._forms = FormDesk(tools, self._send_soon, self._packages.fetch)
        self._daemon_id = uuid4()
        self._running: Running | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_draining = False
        self._delivery_s = _DELIVERY_S
        self._ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._requests: list[msgspec.Struct] = []
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Serves until `drain` or `cancel` has done its work; reconnects for ever."""
        ending = asyncio.create_task(self._ended.wait(), name="end of session")
        connecting = asyncio.create_task(self._connect_for_ever(), name="connection")
        try:
            await asyncio.wait([ending, connecting], return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
        finally:
            for task in filter(None, (ending, connecting, self._task)):
                task.cancel()
                await asyncio.wait([task])
            self._keep_undelivered()
            await self._forms.close()

    def drain(self) -> None:
        """Takes no more jobs and ends once the one that runs is done and stored.

        Where the server stays away for ten minutes after that, its result goes to a file.
        """
        self._is_draining = True
        if self._running is None:
            self._ended.set()
        elif self._running.outbox.result:
            asyncio.get_running_loop().call_later(self._delivery_s, self._ended.set)

    def cancel(self, *, force: bool = False) -> None:
        """Cancels the job that runs, then ends; with `force` within seconds, whatever happens."""
        self.drain()
        if self._running:
            self._running.stop.reason = self._running.stop.reason or _TOLD_TO_END
            self._running.stop.request(force=force)
        if force:
            asyncio.get_running_loop().call_later(_LAST_WORDS_S, self._ended.set)

    def abandon(self) -> None:
        """The server that started this process is gone: ends the job and itself before their successors come.

        A server that is back at once gets the result; else the next provisioner offers it.
        """
        self._delivery_s = _ABANDONED_DELIVERY_S
        if self._running and not self._running.stop.is_requested:
            stop = self._running.stop
            stop.grace_s, stop.reason, stop.is_failure = _LOST_LEASE_GRACE_S, _SERVER_GONE, True
            stop.request()
        self.drain()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()
        if self._running and self._running.outbox.is_urgent:
            self._urgent.set()

    def request_file(self, file_id: UUID) -> None:
        """Asks for an archive."""
        self._send_soon(FileRequest(file_id))

    async def _connect_for_ever(self) -> None:
        backoff = Backoff(first_s=0.5, cap_s=_RECONNECT_S)
        while True:
            began = time.monotonic()
            try:
                async with open_socket(self._identity) as socket:
                    log.info("connected", url=self._identity.url, name=self._identity.name)
                    await self._serve(socket)
                    log.info("disconnected", why="the server drains")
            except ConnectionClosed as error:
                log.warning("disconnected", why=str(error))
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
                log.warning("connection_failed", url=self._identity.url, why=explain_failure(error))
            if time.monotonic() - began > _LIVED_S:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _serve(self, socket: ClientConnection) -> None:
        """Talks on one connection until it ends (raises ConnectionClosed) or the server drains."""
        self._prepare_connection()
        tasks = [
            asyncio.create_task(self._read(socket), name="read"),
            asyncio.create_task(self._write(socket), name="write"),
            asyncio.create_task(self._renew(), name="renew"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            self._packages.disconnect()
            await asyncio.wait(tasks)
            self._forms.disconnect()

    def _prepare_connection(self) -> None:
        running = self._running
        self._offers.restart()
        self._requests = [
            Register(
                daemon_id=self._daemon_id,
                name=self._identity.name,
                version=__version__,
                api_version=API_VERSION,
                tags=self._identity.tags,
                terraform_version=self._tools.terraform.version,
                resume=(running.job.job_id, running.job.lease_id) if running else None,
                form_slots=self._forms.slots,
            )
        ]
        if running is None:
            self._requests += [] if self._is_draining else [Ready()]
        else:
            running.outbox.rewind()
            if running.download:
                running.download.restart()
                self._requests.append(FileRequest(running.download.file_id))
        self._wake.set()
        self._urgent.set()

    async def _read(self, socket: ClientConnection) -> None:
        async for data in socket:
            if isinstance(data, str):
                log.error("message_not_understood", why="it is text")
                continue
            try:
                message = _decode(data)
            except msgspec.MsgspecError as error:
                log.error("message_not_understood", why=str(error))
                continue
            if isinstance(message, Drain):
                return
            if isinstance(message, PackageWanted | PackageChunk):
                await self._packages.take(message)
            else:
                await self._take(message)
        raise ConnectionError("the server closed the connection")

    async def _take(self, message: Job | FormRequest | Cancel | FileChunk | Stored) -> None:
        if isinstance(message, Job):
            self._start(message)
            return
        if isinstance(message, FormRequest):
            self._forms.take(message)
            return
        if isinstance(message, FileChunk):
            await self._forms.take_chunk(message)
        running = self._running
        is_own = running is not None and getattr(message, "job_id", running.job.job_id) == running.job.job_id
        if isinstance(message, Stored) and not is_own:
            if self._offers.settle(message.job_id, message.error):
                log.info("lost_job_offered", job_id=str(message.job_id), refused=message.error)
            return
        if running is None:
            return
        if isinstance(message, FileChunk):
            if running.download:
                await running.download.take(message)
        elif message.job_id != running.job.job_id:
            return
        elif isinstance(message, Cancel):
            log.info("cancel", job_id=str(message.job_id), force=message.force)
            running.stop.request(force=message.force)
        else:
            self._take_stored(running, message)

    async def _write(self, socket: ClientConnection) -> None:
        is_registered = False
        while True:
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            self._urgent.clear()
            requests, self._requests = self._requests, []
            for request in requests:
                await socket.send(_encode(request))
            if requests and not is_registered:
                is_registered = True
                await self._packages.connect(lambda message: socket.send(_encode(message)))
            for message in self._running.outbox.take() if self._running else ():
                await socket.send(encode_fitting(message, self._running, self._lost_directory))

    async def _gather(self) -> None:
        """Lets log lines come together for a moment, unless something more urgent waits."""
        try:
            async with asyncio.timeout(LOG_DELAY_S):
                await self._urgent.wait()
        except TimeoutError:
            pass

    async def _renew(self) -> None:
        while True:
            for offer in await asyncio.to_thread(self._offers.take):
                self._send_soon(offer)
            await asyncio.sleep(LEASE_S / 3)
            if self._running:
                self._send_soon(Renew(self._running.job.job_id, self._running.job.lease_id))

    def _send_soon(self, message: msgspec.Struct) -> None:
        self._requests.append(message)
        self._wake.set()
        self._urgent.set()

    def _start(self, job: Job) -> None:
        if self._running:
            log.error("job_refused", job_id=str(job.job_id), why="another one runs")
            return
        log.info("job_started", job_id=str(job.job_id), kind=type(job.work).__name__)
        record = open_record(self._tools.work_root, job, self._lost_directory)
        running = self._running = Running(job, record, self.wake, self.request_file, self._packages)
        self._task = asyncio.create_task(self._run_job(running), name=f"job {job.job_id}")

    async def _run_job(self, running: Running) -> None:
        result = await run_job(self._tools, running.job, running, running.stop)
        kind = type(result).__name__
        error = result.error if isinstance(result, Failed) else ""
        log.info("job_ended", job_id=str(running.job.job_id), result=kind, error=error)
        running.outbox.finish(result)
        self.wake()
        if self._is_draining:
            asyncio.get_running_loop().call_later(self._delivery_s, self._ended.set)
        if running.is_lease_lost:
            self._settle(running, "the lease was lost before the job had ended")

    def _take_stored(self, running: Running, message: Stored) -> None:
        running.outbox.acknowledge(message.seq)
        if message.error and running.outbox.result is None:
            self._lose_lease(running, message.error)
        elif running.outbox.is_settled or message.error:
            self._settle(running, message.error)
        else:
            self.wake()

    def _lose_lease(self, running: Running, error: str) -> None:
        """The job is no longer ours: somebody else may run it. Let Terraform save, but not for long."""
        if running.is_lease_lost:
            return
        log.error("lease_lost", job_id=str(running.job.job_id), why=error)
        running.is_lease_lost = True
        running.stop.grace_s, running.stop.is_failure = _LOST_LEASE_GRACE_S, True
        running.stop.reason = running.stop.reason or _GIVEN_UP
        running.stop.request()

    def _settle(self, running: Running, error: str) -> None:
        if error and running.outbox.result:
            keep_undelivered(self._lost_directory, running.job, running.outbox.result, error)
        running.record.remove()
        self._running = None
        if self._is_draining:
            self._ended.set()
        else:
            self._send_soon(Ready())

    def _keep_undelivered(self) -> None:
        running = self._running
        if running and running.outbox.result and not running.outbox.is_settled:
            why = "the provisioner ended before the server took it"
            keep_undelivered(self._lost_directory, running.job, running.outbox.result, why)
            running.record.remove()
