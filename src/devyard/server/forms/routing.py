"""Finds a provisioner for a form: one connected to this very process, else one of another process by the database.

Called by actions.py; `FormClaims` runs beside (app.py). Invariants: an asker waits at most `TIME_LIMIT_S`; no
transaction is open while a provisioner works; rows are gone with their asker, or swept soon after.
"""

import asyncio
import time
from collections.abc import Mapping
from uuid import uuid4

import msgspec
import structlog

from devyard.server.db.pool import transaction
from devyard.server.db.wakeups import wait_for, wake
from devyard.server.forms import queries
from devyard.server.forms.seats import FormSeat, SeatGone
from devyard.server.forms.subjects import FormSubject, load_subject, make_request
from devyard.server.jobs.rules import explain_waiting, show_tags
from devyard.server.provisioners.queries import list_candidates
from devyard.server.services import Services
from devyard.server.workspaces.heads import get_head
from devyard.wire.errors import AppError, Unavailable
from devyard.wire.provisionerforms import FormAnswer

log = structlog.get_logger("forms")

TIME_LIMIT_S = 10.0
TOPIC = "forms"
POLL_S = 2.0
_LOOK_S = 0.5
_MAX_CLAIMED = 64

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FormAnswer).decode


async def route(
    services: Services, subject: FormSubject, inputs: Mapping[str, str], previous: Mapping[str, str]
) -> FormAnswer:
    """The answer of a provisioner. Raises Unavailable: none could answer in time."""
    ends_at = time.monotonic() + TIME_LIMIT_S
    try:
        async with asyncio.timeout(TIME_LIMIT_S):
            while seat := services.forms.pick(subject.organization_id, subject.tags, subject.version_id):
                try:
                    return await seat.ask(make_request(subject, inputs, previous))
                except SeatGone:
                    continue
            return await _ask_elsewhere(services, subject, inputs, previous, ends_at - time.monotonic())
    except TimeoutError:
        raise Unavailable(
            f"No provisioner has worked out the form within {TIME_LIMIT_S:.0f} seconds: those with "
            f"{f'the tags {show_tags(subject.tags)}' if subject.tags else 'no tags'} are busy, or still prepare "
            "this template version. Try again."
        ) from None


async def _ask_elsewhere(
    services: Services,
    subject: FormSubject,
    inputs: Mapping[str, str],
    previous: Mapping[str, str],
    time_limit_s: float,
) -> FormAnswer:
    request_id = uuid4()
    await _check_any(services, subject)
    with services.wakeups.waiter(f"form:{request_id}") as event:
        try:
            async with transaction(services.pool) as connection:
                await queries.insert_request(
                    connection,
                    request_id=request_id,
                    organization_id=subject.organization_id,
                    tags=subject.tags,
                    version_id=subject.version_id,
                    owner_id=subject.owner_id,
                    workspace_id=subject.workspace_id,
                    inputs=inputs,
                    previous=previous,
                    time_limit_s=time_limit_s,
                )
                await wake(connection, TOPIC)
            while True:
                await wait_for(event, _LOOK_S)
                if answer := await queries.get_answer(services.pool, request_id):
                    return _decode(answer)
        finally:
            await asyncio.shield(queries.delete_request(services.pool, request_id))


async def _check_any(services: Services, subject: FormSubject) -> None:
    """Raises Unavailable where nobody is connected who could ever answer."""
    candidates = await list_candidates(services.pool, subject.organization_id)
    if reason := explain_waiting(subject.tags, candidates):
        raise Unavailable(f"The form can't be worked out. {reason}")


class FormClaims:
    """Answers other processes' requests with the provisioners connected to this one."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tasks: set[asyncio.Task[None]] = set()
        services.forms.on_backlog = lambda: services.wakeups.wake_here(TOPIC)

    async def run_round(self) -> None:
        """Claims what fits into free slots; returns before it is answered."""
        is_full = False
        for seat in self._services.forms:
            while seat.free > 0 and len(self._tasks) < _MAX_CLAIMED:
                row = await self._claim(seat)
                if row is None:
                    break
                task = asyncio.create_task(self._answer(seat, row), name=f"form {row.id}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            is_full |= seat.free <= 0
        self._services.forms.has_backlog = is_full

    async def sweep(self) -> None:
        """Deletes what nobody waits for any more."""
        await queries.delete_expired(self._services.pool)

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self, seat: FormSeat) -> queries.WaitingRow | None:
        """A request for which a slot of the seat is reserved then."""
        row: queries.WaitingRow | None = None
        seat.reserve()
        try:
            row = await queries.claim_request(self._services.pool, seat.organization_id, seat.tags)
        finally:
            if row is None:
                seat.release()
        return row

    async def _answer(self, seat: FormSeat, row: queries.WaitingRow) -> None:
        services = self._services
        try:
            answer = await self._ask(seat, row)
        except SeatGone:
            async with transaction(services.pool) as connection:
                await queries.release_request(connection, row.id)
                await wake(connection, TOPIC)
            return
        except AppError as error:
            answer = FormAnswer(request_id=row.id, error=error.message)
        except Exception:
            log.exception("a form failed", request_id=str(row.id))
            answer = FormAnswer(
                request_id=row.id, error="The server failed unexpectedly; its log has the details."
            )
        async with transaction(services.pool) as connection:
            await queries.update_answer(connection, row.id, _encode(answer))
            await wake(connection, f"form:{row.id}")

    async def _ask(self, seat: FormSeat, row: queries.WaitingRow) -> FormAnswer:
        try:
            workspace = await get_head(self._services.pool, row.workspace_id) if row.workspace_id else None
            subject = await load_subject(self._services, row.template_version_id, row.owner_id, workspace)
        finally:
            seat.release()
        return await seat.ask(make_request(subject, row.inputs, row.previous))
