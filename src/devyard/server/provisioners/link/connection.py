"""One provisioner's WebSocket, seen from the server: registers it, gives it jobs, applies what it reports.

Contract: devyard.wire.provisionerlink. Two tasks per connection: one reads messages in order, one (`_dispatch`)
claims jobs when the provisioner is ready and watches its job for cancellation. All truth is in the database: a
connection that ends loses nothing, the provisioner resumes on any replica under its lease.
"""

import asyncio
import contextlib
from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec
import structlog
from litestar.exceptions import WebSocketDisconnect

from devyard.server.db.wakeups import wake
from devyard.server.files.queries import get_file_part
from devyard.server.forms.seats import FormSeat
from devyard.server.http.streams import AnySocket
from devyard.server.jobs import lease_queries, results
from devyard.server.jobs.queries import get_job
from devyard.server.jobs.rules import normalize_tags
from devyard.server.packages.queries import get_version_packages
from devyard.server.provisioners import queries
from devyard.server.provisioners.link.claims import claim_job
from devyard.server.provisioners.link.packages import PackageTransfers
from devyard.server.provisioners.signin import Provisioner
from devyard.server.services import Services
from devyard.wire.errors import AppError
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerlink import (
    API_VERSION,
    CHUNK_BYTES,
    BuildDone,
    Cancel,
    Drain,
    DryRunDone,
    Failed,
    FileChunk,
    FileRequest,
    FormRequest,
    FromProvisioner,
    ImportDone,
    InFlight,
    Job,
    Logs,
    LostState,
    Ready,
    Register,
    Renew,
    StateSaved,
    Stored,
    ToProvisioner,
)
from devyard.wire.provisionerpackages import PackageChunk, PackageOffer, PackageRequest, PackageWanted

log = structlog.get_logger("provisioners")

POLL_S = 5.0
FORCE_AFTER = timedelta(seconds=30)
REGISTER_TIMEOUT_S = 15.0
PROTOCOL_ERROR, GOING_AWAY = 4000, 1012

_decode = msgspec.msgpack.Decoder(FromProvisioner).decode
_encode = msgspec.msgpack.Encoder().encode


class Refused(Exception):
    """The provisioner broke the contract; the message is the reason of the close."""


class Current(msgspec.Struct):
    """The job that this provisioner runs, and what it was told about canceling."""

    job_id: UUID
    lease_id: UUID
    file_id: UUID
    is_told: bool = False
    is_forced: bool = False


class ProvisionerConnection:
    """One accepted socket; `run` lives as long as it does."""

    def __init__(self, socket: AnySocket, services: Services, principal: Provisioner) -> None:
        self._socket = socket
        self._services = services
        self._principal = principal
        self._sending = asyncio.Lock()
        self._woken = asyncio.Event()
        self._is_ready = False
        self._is_draining = False
        self._current: Current | None = None
        self._daemon_id = UUID(int=0)
        self._tags: dict[str, str] = {}
        self._forms: FormSeat | None = None
        self._packages = PackageTransfers(services, self._send)

    async def run(self) -> None:
        """Serve until either side ends."""
        try:
            async with asyncio.timeout(REGISTER_TIMEOUT_S):
                first = await self._receive()
            await self._register(first)
        except (Refused, TimeoutError) as error:
            await self._close(PROTOCOL_ERROR, str(error) or "no Register came")
            return
        except WebSocketDisconnect:
            return
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._dispatch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._leave_forms()
            await self._packages.close()
        await self._end(next((e for e in ended if _is_failure(e)), None))

    async def drain(self) -> None:
        """Tell the provisioner that this server goes away."""
        self._is_draining = True
        self._leave_forms()
        with contextlib.suppress(Exception):
            await self._send(Drain())

    async def _register(self, message: object) -> None:
        if not isinstance(message, Register):
            raise Refused("Register has to come first")
        if message.api_version.partition(".")[0] != API_VERSION.partition(".")[0]:
            raise Refused(f"this server speaks version {API_VERSION}, not {message.api_version[:20]}")
        try:
            own = normalize_tags(message.tags)
        except AppError as error:
            raise Refused(error.message) from None
        self._tags = own if self._principal.tags is None else dict(self._principal.tags)
        self._daemon_id = message.daemon_id
        is_known = await queries.upsert_daemon(
            self._services.pool,
            daemon_id=message.daemon_id,
            organization_id=self._principal.organization_id,
            key_id=self._principal.key_id,
            name=message.name[:100],
            version=message.version[:50],
            api_version=message.api_version[:20],
            terraform_version=message.terraform_version[:50],
            tags=self._tags,
        )
        if not is_known:
            raise Refused("this daemon id belongs to another provisioner")
        log.info("provisioner connected", name=message.name[:100], daemon_id=str(message.daemon_id))
        released = await lease_queries.release_unseen(
            self._services.pool, self._daemon_id, message.resume[0] if message.resume else None
        )
        if released:
            log.warning("took back a job that had not reached its provisioner", daemon_id=str(self._daemon_id))
            await wake(self._services.pool, "jobs")
        if message.resume is not None:
            await self._resume(*message.resume)
        if message.form_slots > 0:
            organization_id = self._principal.organization_id
            self._forms = FormSeat(organization_id, self._tags, message.form_slots, self._send_form)
            self._services.forms.add(self._forms)

    async def _send_form(self, request: FormRequest) -> None:
        self._packages.allow(request.template_version_id, request.packages)
        await self._send(request)

    def _leave_forms(self) -> None:
        if self._forms:
            self._services.forms.remove(self._forms)

    async def _resume(self, job_id: UUID, lease_id: UUID) -> None:
        job = await get_job(self._services.pool, job_id)
        if job is not None and job.worker_id == self._daemon_id:
            self._current = Current(job_id, lease_id, job.file_id)
            packages, _ = await get_version_packages(self._services.pool, job.template_version_id)
            self._packages.allow(job_id, packages)
            await self._take_renew(Renew(job_id, lease_id))
        else:
            await self._send(Stored(job_id=job_id, seq=0, error=results.LEASE_GONE))

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if isinstance(message, Ready):
                self._current, self._is_ready = None, True
                self._woken.set()
            elif isinstance(message, Register):
                raise Refused("Register came twice")
            elif isinstance(message, FileRequest):
                await self._send_file(message.file_id)
            elif isinstance(message, LostState):
                error = await results.store_left(self._services, self._principal.organization_id, message)
                await self._send(Stored(job_id=message.job_id, seq=message.seq, error=error))
            elif isinstance(message, FormAnswer):
                if self._forms is None or not self._forms.take(message):
                    log.info("a form was answered too late", daemon_id=str(self._daemon_id))
            elif isinstance(message, PackageRequest):
                await self._packages.request(message.sha256)
            elif isinstance(message, PackageChunk):
                await self._packages.take_chunk(message)
            elif isinstance(message, PackageOffer):
                await self._take_offer(message)
            else:
                await self._take(message)

    async def _take(
        self, message: Logs | Renew | InFlight | StateSaved | ImportDone | BuildDone | DryRunDone | Failed
    ) -> None:
        current = self._current
        if current is None or (message.job_id, message.lease_id) != (current.job_id, current.lease_id):
            seq = getattr(message, "seq", 0)
            if not isinstance(message, InFlight):
                await self._send(Stored(job_id=message.job_id, seq=seq, error=results.LEASE_GONE))
            return
        if isinstance(message, Logs):
            error = await results.store_logs(self._services, message)
            if message.seq or error:
                await self._send(Stored(job_id=message.job_id, seq=message.seq, error=error))
        elif isinstance(message, InFlight):
            await results.store_in_flight(self._services, message)
        elif isinstance(message, Renew):
            await self._take_renew(message)
        else:
            await self._store(message)

    async def _take_offer(self, message: PackageOffer) -> None:
        current = self._current
        if current is not None and (message.job_id, message.lease_id) == (current.job_id, current.lease_id):
            await self._packages.take_offer(message)
        else:
            await self._send(PackageWanted(message.package.sha256, False, results.LEASE_GONE))

    async def _store(self, message: StateSaved | ImportDone | BuildDone | DryRunDone | Failed) -> None:
        if isinstance(message, StateSaved):
            error = await results.store_state(self._services, message)
        elif isinstance(message, Failed):
            error = await results.store_failed(self._services, message)
        else:
            error = await results.store_done(self._services, message)
        if not isinstance(message, StateSaved) or error:
            log.info("job ended", job_id=str(message.job_id), kind=type(message).__name__, error=error)
        await self._send(Stored(job_id=message.job_id, seq=message.seq, error=error))

    async def _take_renew(self, message: Renew) -> None:
        if await lease_queries.renew_lease(self._services.pool, message.job_id, message.lease_id):
            return
        async with self._services.pool.acquire() as connection:
            is_stored = await lease_queries.is_ended_under(connection, message.job_id, message.lease_id)
        if not is_stored:
            await self._send(Stored(job_id=message.job_id, seq=0, error=results.LEASE_GONE))

    async def _dispatch(self) -> None:
        """Claims a job whenever the provisioner is ready, and tells it when its job is canceled."""
        services = self._services
        while True:
            topics = ("jobs",) if self._current is None else ("jobs", f"job:{self._current.job_id}")
            with services.wakeups.waiter(*topics) as event:
                if not await queries.touch_daemon(services.pool, self._daemon_id, self._principal.key_id):
                    raise Refused("the provisioner's key was removed")
                job_id = self._current.job_id if self._current else None
                while (self._current.job_id if self._current else None) == job_id:
                    if self._current is not None:
                        await self._check_cancel(self._current)
                    elif self._is_ready and not self._is_draining and await self._claim():
                        break
                    if not await self._wait(event):
                        break

    async def _wait(self, event: asyncio.Event) -> bool:
        """Until something is woken here or elsewhere (True), or the polling interval has passed."""
        waits = [asyncio.create_task(event.wait()), asyncio.create_task(self._woken.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        event.clear()
        self._woken.clear()
        return bool(done)

    async def _claim(self) -> bool:
        """Claim one job and send it; False where there is none."""
        services = self._services
        claimed = await claim_job(services, self._principal.organization_id, self._tags, self._daemon_id)
        if not isinstance(claimed, Job):
            return claimed
        self._is_ready = False
        self._current = Current(claimed.job_id, claimed.lease_id, claimed.archive.file_id)
        self._packages.allow(claimed.job_id, claimed.packages)
        log.info("job given out", job_id=str(claimed.job_id), daemon_id=str(self._daemon_id))
        try:
            await self._send(claimed)
        except BaseException:
            await asyncio.shield(results.release(services, claimed.job_id, claimed.lease_id))
            raise
        return True

    async def _check_cancel(self, current: Current) -> None:
        job = await get_job(self._services.pool, current.job_id)
        if job is None or job.status != "canceling":
            return
        asked_at = job.canceled_at or self._services.now()
        if not current.is_told:
            current.is_told = True
            await self._send(Cancel(job_id=current.job_id, force=False))
        elif not current.is_forced and self._services.now() - asked_at >= FORCE_AFTER:
            current.is_forced = True
            await self._send(Cancel(job_id=current.job_id, force=True))

    async def _send_file(self, file_id: UUID) -> None:
        """Send the archive of the current job or of a form, part by part; of any other file only an empty end."""
        is_of_job = self._current is not None and self._current.file_id == file_id
        if not is_of_job and not (self._forms and self._forms.needs_file(file_id)):
            await self._send(FileChunk(file_id=file_id, offset=0, data=b"", last=True))
            return
        offset = 0
        while True:
            data = await get_file_part(self._services.pool, file_id, offset, CHUNK_BYTES)
            is_last = len(data) < CHUNK_BYTES
            await self._send(FileChunk(file_id=file_id, offset=offset, data=data, last=is_last))
            offset += len(data)
            if is_last:
                return

    async def _receive(self) -> FromProvisioner:
        data = await self._socket.receive_bytes()
        try:
            message: FromProvisioner = _decode(data)
        except msgspec.MsgspecError as error:
            raise Refused(f"a message can't be understood: {error}"[:100]) from None
        return message

    async def _send(self, message: ToProvisioner) -> None:
        async with self._sending:
            await self._socket.send_bytes(_encode(message))

    async def _end(self, failure: BaseException | None) -> None:
        """Close, and say why where it was not the provisioner who left."""
        if isinstance(failure, Refused):
            await self._close(PROTOCOL_ERROR, str(failure))
        elif failure is not None and not isinstance(failure, WebSocketDisconnect):
            log.error("a provisioner's connection failed", daemon_id=str(self._daemon_id), exc_info=failure)
            await self._close(GOING_AWAY, "the server could not go on; connect again")
        log.info("provisioner disconnected", daemon_id=str(self._daemon_id))
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await queries.leave_daemon(self._services.pool, self._daemon_id)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(Exception):
            await self._socket.close(code=code, reason=reason[:120])


def _is_failure(outcome: object) -> bool:
    return isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError)
