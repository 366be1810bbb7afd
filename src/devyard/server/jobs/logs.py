"""A job's log: kept lines on a plain GET, and a live tail that ends with the job.

Called by the routes of template versions, dry runs and workspace builds. A tail wakes on `logs:<job>` and looks
every few seconds in any case.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from devyard.server.db.pool import Executor
from devyard.server.db.wakeups import wait_for
from devyard.server.http.streams import AnySocket, send_values
from devyard.server.jobs import queries
from devyard.server.services import Services
from devyard.wire.jobs import ProvisionerJobLog

BATCH = 500
POLL_S = 3.0
MAX_LINES = 50_000
"""Bound of a plain GET; a job's log is bounded by its bytes anyway."""


async def list_logs(
    executor: Executor, job_id: UUID, *, after: int = 0, before: int = 0
) -> list[ProvisionerJobLog]:
    """The lines of a job with ids after `after` and (unless 0) before `before`, oldest first."""
    return await queries.list_logs(executor, job_id, after=after, before=before, limit=MAX_LINES)


async def follow_logs(services: Services, job_id: UUID, *, after: int = 0) -> AsyncIterator[ProvisionerJobLog]:
    """Every line of a job after `after`, as they come; ends when the job has ended and all is told."""
    with services.wakeups.waiter(f"logs:{job_id}") as event:
        while True:
            event.clear()
            job = await queries.get_job(services.pool, job_id)
            while lines := await queries.list_logs(services.pool, job_id, after=after, before=0, limit=BATCH):
                for line in lines:
                    yield line
                after = lines[-1].id
            if job is None or job.is_ended:
                return
            await wait_for(event, POLL_S)


async def send_logs(socket: AnySocket, services: Services, job_id: UUID, *, after: int = 0) -> None:
    """Answer a `?follow` websocket: one JSON message a line, closed when the job has ended."""
    await send_values(socket, follow_logs(services, job_id, after=after))
