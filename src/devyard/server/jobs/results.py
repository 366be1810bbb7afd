"""Applies what provisioners report: logs, state, results. Each in one transaction, under the lease.

Called by the provisioners' socket and by the reaper. What a result means for a template version or a workspace
is decided by those subjects; here it is only routed. A lease that is gone changes nothing.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import asyncpg
import structlog

from devyard.server.builds import actions as builds
from devyard.server.builds.rules import describe_failure_anew
from devyard.server.builds.statefile import list_addresses
from devyard.server.db.pool import Connection, transaction
from devyard.server.db.wakeups import wake
from devyard.server.jobs import lease_queries
from devyard.server.jobs.queries import JobRow, get_job
from devyard.server.services import Services
from devyard.server.templates import completion
from devyard.wire.enums import JobStatus
from devyard.wire.errors import AppError, Invalid
from devyard.wire.provisionerlink import (
    LEASE_S,
    BuildDone,
    DryRunDone,
    Failed,
    ImportDone,
    InFlight,
    JobLogLine,
    Logs,
    LostState,
    StateSaved,
)

log = structlog.get_logger("jobs")

LEASE_GONE = "The job is not yours any more: its lease has ended."
LOST = (
    "The provisioner that ran this job was lost: nothing was heard from it for "
    f"{LEASE_S + lease_queries.GRACE_S} seconds, so the job was given up. The last state that it saved was kept. "
    "Check that the provisioner's machine is up, then try again."
)
LATE_STATE_LINE = "A newer Terraform state was found where this build's provisioner had run, and was taken in."
MAX_LOG_BYTES = 1 << 20
MAX_LINE_CHARS = 64 * 1024
MAX_ERROR_CHARS = 16 * 1024
MAX_ORPHANS = 500
OVERFLOW_LINE = "The log has reached 1 MiB; what follows is not kept."

Done = ImportDone | BuildDone | DryRunDone


async def store_logs(services: Services, message: Logs) -> str:
    """Keep log lines, once, and wake those who watch; answers why the lease does not count, or nothing.

    Lines that a full log has no room for are dropped.
    """
    job_id = message.job_id
    kept = [_clean(line) for line in message.lines]
    sizes = [len(line.output.encode()) + 1 for line in kept]
    async with transaction(services.pool) as connection:
        before = await lease_queries.reserve_log_bytes(
            connection, job_id, message.lease_id, message.seq, sum(sizes), MAX_LOG_BYTES
        )
        if before is None:
            job = await lease_queries.lock_leased(connection, job_id, message.lease_id)
            return "" if job else await _explain_missing(connection, job_id, message.lease_id)
        fitting, used = 0, before
        while fitting < len(kept) and used + sizes[fitting] <= MAX_LOG_BYTES:
            used += sizes[fitting]
            fitting += 1
        if fitting < len(kept):
            overflow = JobLogLine(kept[fitting].created_at, "provisioner_daemon", "warn", "", OVERFLOW_LINE)
            kept = [*kept[:fitting], overflow]
        await _insert_logs(connection, job_id, kept)
    return ""


async def store_in_flight(services: Services, message: InFlight) -> None:
    """Keep what a provisioner makes and removes right now; of no consequence where its lease is gone."""
    await lease_queries.update_in_flight(services.pool, message)


async def store_state(services: Services, message: StateSaved) -> str:
    """Keep a state that Terraform wrote while applying; answers why the lease does not count, or nothing.

    A state that is no valid successor is logged and dropped: sending it again would not help.
    """
    async with transaction(services.pool) as connection:
        job = await lease_queries.lock_leased(connection, message.job_id, message.lease_id)
        if job is None:
            return LEASE_GONE
        if job.type != "workspace_build":
            return "Only workspace builds have a state."
        try:
            async with connection.transaction():
                is_kept = await builds.save_state(connection, services, job, message.state)
        except AppError as error:
            is_kept = False
            log.warning("a state can't be read", job_id=str(job.id), error=error.message)
    if not is_kept:
        log.warning("a state was not kept", job_id=str(message.job_id), seq=message.seq)
    return ""


async def store_done(services: Services, result: Done) -> str:
    """Apply a successful result; answers why the lease does not count, or nothing.

    A result that contradicts itself fails the job with that reason, and its state is kept.
    """
    try:
        async with transaction(services.pool) as connection:
            job = await lease_queries.end_job(connection, result.job_id, result.lease_id, status="succeeded")
            if job is None:
                return await _explain_missing(connection, result.job_id, result.lease_id)
            await _complete(connection, services, job, result)
            await _wake_watchers(connection, job)
    except (AppError, asyncpg.DataError) as error:
        message = error.message if isinstance(error, AppError) else "The result holds what can't be stored."
        log.warning("a result was refused", job_id=str(result.job_id), error=str(error))
        state = result.state if isinstance(result, BuildDone) else b""
        failed = Failed(job_id=result.job_id, lease_id=result.lease_id, seq=result.seq, error=message, state=state)
        return await store_failed(services, failed)
    return ""


async def store_failed(services: Services, result: Failed) -> str:
    """Apply the end of a job without success; answers why the lease does not count, or nothing."""
    status: JobStatus = "canceled" if result.outcome == "canceled" else "failed"
    async with transaction(services.pool) as connection:
        job = await lease_queries.end_job(
            connection,
            result.job_id,
            result.lease_id,
            status=status,
            error=result.error.replace("\0", "")[:MAX_ERROR_CHARS],
            error_code=result.error_code,
            possible_orphans=clean_names(result.possible_orphans),
        )
        if job is None:
            return await _explain_missing(connection, result.job_id, result.lease_id)
        await _fail(connection, services, job, result)
        await _wake_watchers(connection, job)
    return ""


async def fail_unstartable(services: Services, job_id: UUID, error: str) -> None:
    """End a pending job that can't be given to any provisioner, with the reason."""
    async with transaction(services.pool) as connection:
        job = await lease_queries.fail_pending(connection, job_id, error[:MAX_ERROR_CHARS])
        if job is not None:
            await _fail(connection, services, job, Failed(job_id=job.id, lease_id=job.id, seq=0, error=error))
            await _wake_watchers(connection, job)


async def release(services: Services, job_id: UUID, lease_id: UUID) -> None:
    """Put a job back into the queue whose provisioner was gone before it could be told."""
    async with transaction(services.pool) as connection:
        if await lease_queries.release_job(connection, job_id, lease_id):
            await wake(connection, "jobs")


async def give_up_lost(services: Services, job_id: UUID, lease_id: UUID) -> None:
    """End a job whose provisioner is lost; the provisioner is told to stop if it is heard of again."""
    async with transaction(services.pool) as connection:
        job = await lease_queries.lock_leased(connection, job_id, lease_id)
        if job is None or (job.lease_expires_at and job.lease_expires_at > services.now()):
            return
        orphans = await lease_queries.list_in_flight(connection, job_id)
        await _end_lost(connection, services, job, LOST, tuple(orphans))
    log.warning("gave up a job whose provisioner is lost", job_id=str(job_id))


async def give_up(connection: Connection, services: Services, job_id: UUID) -> None:
    """End a job whose lease has ended and that nobody has ended yet, inside the caller's transaction."""
    job = await get_job(connection, job_id)
    if job is not None and not job.is_ended:
        await _end_lost(
            connection, services, job, LOST, tuple(await lease_queries.list_in_flight(connection, job_id))
        )


async def store_left(services: Services, organization_id: UUID, message: LostState) -> str:
    """Take in what a killed provisioner left; answers why not, or nothing where it is no longer needed.

    Whoever held the lease is gone: a job that still runs under it ends now, with the state and the orphans that
    were found. Of a job that has ended, a newer state is taken while no other build has begun.
    """
    async with transaction(services.pool) as connection:
        job = await lease_queries.lock_left(connection, organization_id, message.job_id, message.lease_id)
        if job is None:
            return LEASE_GONE
        if not job.is_ended:
            known = await lease_queries.list_in_flight(connection, job.id)
            orphans = clean_names(message.possible_orphans) or tuple(known)
            await _end_lost(connection, services, job, message.error or LOST, orphans, message.state)
            log.warning("ended a job whose provisioner was killed", job_id=str(job.id))
            return ""
        if job.type != "workspace_build" or not message.state:
            return ""
        error = await builds.take_left_state(connection, services, job, message.state)
        if error is None:
            said, left = describe_failure_anew(job.error, job.possible_orphans, list_addresses(message.state))
            await lease_queries.update_failure(connection, job.id, said, left)
            now = services.now()
            line = JobLogLine(now, "provisioner_daemon", "warn", "Taking in what was left", LATE_STATE_LINE)
            await _insert_logs(connection, job.id, [line])
            log.warning("took a state that a lost provisioner had left", job_id=str(job.id))
        return error or ""


async def _end_lost(
    connection: Connection,
    services: Services,
    job: JobRow,
    error: str,
    orphans: tuple[str, ...],
    state: bytes = b"",
) -> None:
    """End a job whose provisioner is gone: as wished where it was being canceled, else failed."""
    if job.lease_id is None:
        return
    outcome: Literal["failed", "canceled"] = "canceled" if job.status == "canceling" else "failed"
    error = error.replace("\0", "")[:MAX_ERROR_CHARS]
    ended = await lease_queries.end_job(
        connection, job.id, job.lease_id, status=outcome, error=error, possible_orphans=orphans, is_lost=True
    )
    if ended is None:
        return
    failed = Failed(
        job_id=job.id,
        lease_id=job.lease_id,
        seq=0,
        error=error,
        outcome=outcome,
        possible_orphans=orphans,
        state=state,
    )
    await _fail(connection, services, ended, failed)
    lines = [JobLogLine(services.now(), "provisioner_daemon", "error", "Giving up", error)]
    lines += [
        JobLogLine(services.now(), "provisioner_daemon", "error", "Giving up", f"May exist: {o}") for o in orphans
    ]
    await _insert_logs(connection, job.id, lines)
    await _wake_watchers(connection, ended)


async def _complete(connection: Connection, services: Services, job: JobRow, result: Done) -> None:
    if isinstance(result, BuildDone) and job.type == "workspace_build":
        await builds.complete_build(connection, services, job, result)
    elif isinstance(result, ImportDone) and job.type == "template_version_import":
        await completion.complete_import(connection, services, job, result)
    elif isinstance(result, DryRunDone) and job.type == "template_version_dry_run":
        await completion.complete_dry_run(connection, services, job, result)
    else:
        raise Invalid("The provisioner answered with the result of another kind of job.")


async def _fail(connection: Connection, services: Services, job: JobRow, result: Failed) -> None:
    if job.type == "workspace_build":
        await builds.fail_build(connection, services, job, result)


async def _wake_watchers(connection: Connection, job: JobRow) -> None:
    await wake(connection, f"job:{job.id}")
    await wake(connection, f"logs:{job.id}")


async def _explain_missing(connection: Connection, job_id: UUID, lease_id: UUID) -> str:
    """Nothing where the result is stored already; else that the lease is gone."""
    return "" if await lease_queries.is_ended_under(connection, job_id, lease_id) else LEASE_GONE


async def _insert_logs(connection: Connection, job_id: UUID, lines: Sequence[JobLogLine]) -> None:
    await lease_queries.insert_logs(
        connection,
        job_id,
        [line.created_at for line in lines],
        [line.source for line in lines],
        [line.level for line in lines],
        [line.stage for line in lines],
        [line.output for line in lines],
    )
    await wake(connection, f"logs:{job_id}")


def clean_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of possible orphans, bounded and storable."""
    return tuple(name.replace("\0", "")[:300] for name in names[:MAX_ORPHANS])


def _clean(line: JobLogLine) -> JobLogLine:
    output = line.output.replace("\0", "")[:MAX_LINE_CHARS]
    return JobLogLine(line.created_at, line.source, line.level, line.stage.replace("\0", "")[:64], output)
