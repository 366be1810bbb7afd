"""Writes on the queue. Those that take a connection run inside the caller's transaction.

Wake-ups: `jobs` when a job may be claimed, `job:<id>` when a job's status changes, `logs:<id>` when it has new
log lines or has ended.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor
from devyard.server.db.pool import Connection
from devyard.server.db.wakeups import wake
from devyard.server.jobs import queries
from devyard.server.jobs.queries import JobRow
from devyard.server.jobs.rules import normalize_tags
from devyard.wire.enums import JobType
from devyard.wire.errors import Conflict, NotFound

BACKGROUND = 1
"""Priority of jobs that nobody waits for, such as keeping workspaces prebuilt."""


async def insert_job(
    connection: Connection,
    *,
    actor: Actor,
    organization_id: UUID,
    type: JobType,
    file_id: UUID,
    template_version_id: UUID,
    workspace_build_id: UUID | None = None,
    tags: Mapping[str, str],
    input: Mapping[str, object] | None = None,
    is_background: bool = False,
) -> JobRow:
    """Queue a job inside the caller's transaction; provisioners are woken when it commits.

    `is_background`: nobody waits for it, so every job of a person goes first.
    """
    job = await queries.insert_job(
        connection,
        job_id=uuid4(),
        organization_id=organization_id,
        initiator_id=actor.user_id,
        type=type,
        file_id=file_id,
        template_version_id=template_version_id,
        workspace_build_id=workspace_build_id,
        tags=normalize_tags(tags),
        input=input or {},
        priority=BACKGROUND if is_background else 0,
    )
    await wake(connection, "jobs")
    return job


async def cancel_job(connection: Connection, job_id: UUID, now: datetime) -> JobRow:
    """Cancel a job inside the caller's transaction: a pending one ends at once, a running one is asked to stop.

    Raises:
        NotFound: no such job. Conflict: it has ended.
    """
    job = await queries.cancel_pending(connection, job_id, now)
    job = job or await queries.cancel_running(connection, job_id, now)
    if job is None:
        job = await queries.get_job(connection, job_id)
        if job is None:
            raise NotFound
        if job.is_ended:
            raise Conflict("The job has already ended.")
    await wake(connection, f"job:{job_id}")
    await wake(connection, f"logs:{job_id}")
    return job
