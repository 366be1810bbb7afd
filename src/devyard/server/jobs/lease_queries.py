"""SQL of the lease: claim, renew, end, reap. Times are the database's, so that replicas' clocks do not matter.

Invariant: a job in `running` or `canceling` has a lease; every statement that ends one names that lease and
changes no row when it is gone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from devyard.server.db.pool import Connection, Executor
from devyard.server.jobs.queries import JOB_COLUMNS, JobRow
from devyard.wire.enums import JobStatus
from devyard.wire.provisionerlink import InFlight

GRACE_S = 8
"""From the end of a lease until its job is given up: 23 s after the last sign of life, with the lease, and at most
26 with the reaper's period."""
CANCEL_PATIENCE_S = 120
"""A job that was canceled this long ago loses its lease: its provisioner lives, but does not answer to it."""


async def claim_job(
    connection: Connection, *, organization_id: UUID, tags: Mapping[str, str], worker_id: UUID, lease_id: UUID
) -> JobRow | None:
    """The first pending job that a provisioner with these tags may take, now running under `lease_id`.

    What people wait for goes before what nobody waits for (`priority`), then the oldest.
    """
    record = await connection.fetchrow(
        f"""-- jobs.claim_job
        UPDATE provisioner_jobs AS j
        SET status = 'running', worker_id = $3, lease_id = $4, lease_expires_at = now() + interval '15 seconds',
            started_at = now()
        WHERE j.id = (
            SELECT id FROM provisioner_jobs
            WHERE status = 'pending' AND organization_id = $1
              AND CASE WHEN tags = '{{}}' THEN $2::jsonb = '{{}}' ELSE tags <@ $2::jsonb END
            ORDER BY priority, created_at, id FOR UPDATE SKIP LOCKED LIMIT 1
        )
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608  (constant column names, here and below)
        organization_id,
        dict(tags),
        worker_id,
        lease_id,
    )
    return JobRow(**record) if record else None


async def release_job(connection: Connection, job_id: UUID, lease_id: UUID) -> bool:
    """Put a job back into the queue that its provisioner has never seen."""
    return bool(
        await connection.fetchval(
            """-- jobs.release_job
            UPDATE provisioner_jobs
            SET status = 'pending', worker_id = NULL, lease_id = NULL, lease_expires_at = NULL, started_at = NULL
            WHERE id = $1 AND lease_id = $2 AND status = 'running' RETURNING true
            """,
            job_id,
            lease_id,
        )
    )


async def release_unseen(executor: Executor, worker_id: UUID, running_id: UUID | None) -> int:
    """Put jobs back into the queue that were given to this provisioner but never reached it: it has just said that
    it runs none but `running_id`. One that was canceled meanwhile goes by its lease. Answers how many.
    """
    found = await executor.fetch(
        """-- jobs.release_unseen
        UPDATE provisioner_jobs
        SET status = 'pending', worker_id = NULL, lease_id = NULL, lease_expires_at = NULL, started_at = NULL
        WHERE worker_id = $1 AND status = 'running' AND id IS DISTINCT FROM $2::uuid RETURNING id
        """,
        worker_id,
        running_id,
    )
    return len(found)


async def renew_lease(executor: Executor, job_id: UUID, lease_id: UUID) -> bool:
    """Keep a job for another lease; False where the lease is gone."""
    return bool(
        await executor.fetchval(
            """-- jobs.renew_lease
            UPDATE provisioner_jobs SET lease_expires_at = now() + interval '15 seconds'
            WHERE id = $1 AND lease_id = $2 AND (status = 'running'
                OR status = 'canceling' AND canceled_at > now() - $3::int * interval '1 second')
            RETURNING true
            """,
            job_id,
            lease_id,
            CANCEL_PATIENCE_S,
        )
    )


async def lock_leased(connection: Connection, job_id: UUID, lease_id: UUID) -> JobRow | None:
    """A job under its lease, locked until the transaction ends."""
    record = await connection.fetchrow(
        f"""-- jobs.lock_leased
        SELECT {JOB_COLUMNS} FROM provisioner_jobs j
        WHERE j.id = $1 AND j.lease_id = $2 AND j.status IN ('running', 'canceling') FOR NO KEY UPDATE
        """,  # noqa: S608
        job_id,
        lease_id,
    )
    return JobRow(**record) if record else None


async def lock_left(connection: Connection, organization_id: UUID, job_id: UUID, lease_id: UUID) -> JobRow | None:
    """A job that is or was under this lease, ended or not, locked until the transaction ends."""
    record = await connection.fetchrow(
        f"""-- jobs.lock_left
        SELECT {JOB_COLUMNS} FROM provisioner_jobs j
        WHERE j.id = $1 AND j.organization_id = $3 AND (j.lease_id = $2 OR j.lost_lease_id = $2)
        FOR NO KEY UPDATE
        """,  # noqa: S608
        job_id,
        lease_id,
        organization_id,
    )
    return JobRow(**record) if record else None


async def update_in_flight(executor: Executor, message: InFlight) -> bool:
    """Keep what a provisioner makes and removes right now; False where the lease is gone."""
    names = {"creating": message.creating, "destroying": message.destroying, "planned": message.planned}
    return bool(
        await executor.fetchval(
            """-- jobs.update_in_flight
            UPDATE provisioner_jobs SET in_flight = $3
            WHERE id = $1 AND lease_id = $2 AND status IN ('running', 'canceling') RETURNING true
            """,
            message.job_id,
            message.lease_id,
            names,
        )
    )


async def list_in_flight(connection: Connection, job_id: UUID) -> list[str]:
    """What may exist of a job whose provisioner is lost: what it was making, then what it was about to make."""
    found = await connection.fetchval(
        """-- jobs.list_in_flight
        SELECT coalesce(in_flight->'creating', '[]') || coalesce(in_flight->'planned', '[]')
        FROM provisioner_jobs WHERE id = $1
        """,
        job_id,
    )
    return list(found or ())


async def update_failure(
    connection: Connection, job_id: UUID, error: str, possible_orphans: Sequence[str]
) -> None:
    """Say anew why a job failed and what it may have left."""
    await connection.execute(
        """-- jobs.update_failure
        UPDATE provisioner_jobs SET error = $2, possible_orphans = $3 WHERE id = $1
        """,
        job_id,
        error,
        list(possible_orphans),
    )


async def is_ended_under(executor: Executor, job_id: UUID, lease_id: UUID) -> bool:
    """Whether a result was stored under this lease before: the provisioner has missed the acknowledgement."""
    return bool(
        await executor.fetchval(
            """-- jobs.is_ended_under
            SELECT true FROM provisioner_jobs
            WHERE id = $1 AND lease_id = $2 AND status IN ('succeeded', 'failed', 'canceled')
            """,
            job_id,
            lease_id,
        )
    )


async def end_job(
    connection: Connection,
    job_id: UUID,
    lease_id: UUID,
    *,
    status: JobStatus,
    error: str = "",
    error_code: str = "",
    possible_orphans: Sequence[str] = (),
    is_lost: bool = False,
) -> JobRow | None:
    """End a job under its lease; None where the lease is gone. The lease of a lost job counts no more, but is kept
    so that what its holder left can be taken in.
    """
    record = await connection.fetchrow(
        f"""-- jobs.end_job
        UPDATE provisioner_jobs AS j
        SET status = $3, error = $4, error_code = $5, completed_at = now(), lease_expires_at = NULL,
            lease_id = CASE WHEN $6 THEN NULL ELSE j.lease_id END,
            lost_lease_id = CASE WHEN $6 THEN j.lease_id END, possible_orphans = $7, in_flight = '{{}}'
        WHERE j.id = $1 AND j.lease_id = $2 AND j.status IN ('running', 'canceling')
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608
        job_id,
        lease_id,
        status,
        error,
        error_code,
        is_lost,
        list(possible_orphans),
    )
    return JobRow(**record) if record else None


async def fail_pending(connection: Connection, job_id: UUID, error: str) -> JobRow | None:
    """End a pending job that no provisioner could be given."""
    record = await connection.fetchrow(
        f"""-- jobs.fail_pending
        UPDATE provisioner_jobs AS j SET status = 'failed', error = $2, completed_at = now(), lease_id = j.id
        WHERE j.id = $1 AND j.status = 'pending'
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608
        job_id,
        error,
    )
    return JobRow(**record) if record else None


async def list_lost(executor: Executor) -> list[tuple[UUID, UUID]]:
    """Jobs (with their leases) from which nothing was heard for the lease and the grace after it."""
    records = await executor.fetch(
        """-- jobs.list_lost
        SELECT id, lease_id FROM provisioner_jobs
        WHERE status IN ('running', 'canceling') AND lease_expires_at < now() - $1::int * interval '1 second'
        ORDER BY lease_expires_at LIMIT 50
        """,
        GRACE_S,
    )
    return [(record["id"], record["lease_id"]) for record in records]


async def list_hopeless(executor: Executor, max_age_s: float) -> list[JobRow]:
    """Jobs that have waited for longer than this and that no connected provisioner may take, oldest first."""
    records = await executor.fetch(
        f"""-- jobs.list_hopeless
        SELECT {JOB_COLUMNS} FROM provisioner_jobs j
        WHERE j.status = 'pending' AND j.created_at < now() - $1::float8 * interval '1 second' AND NOT EXISTS (
            SELECT FROM provisioner_daemons d
            WHERE d.organization_id = j.organization_id AND d.last_seen_at > now() - interval '45 seconds'
              AND CASE WHEN j.tags = '{{}}' THEN d.tags = '{{}}' ELSE j.tags <@ d.tags END)
        ORDER BY j.created_at LIMIT 50
        """,  # noqa: S608
        max_age_s,
    )
    return [JobRow(**record) for record in records]


async def reserve_log_bytes(
    connection: Connection, job_id: UUID, lease_id: UUID, seq: int, size_bytes: int, limit_bytes: int
) -> int | None:
    """How many bytes the log had before, adding `size_bytes`; None where the lease is gone, the log is full or the
    message `seq` (0: of no number) was kept before.
    """
    before: int | None = await connection.fetchval(
        """-- jobs.reserve_log_bytes
        UPDATE provisioner_jobs
        SET logs_bytes = logs_bytes + $3, logs_overflowed = logs_bytes + $3 > $4,
            logs_seq = greatest(logs_seq, $5)
        WHERE id = $1 AND lease_id = $2 AND status IN ('running', 'canceling') AND NOT logs_overflowed
          AND ($5::bigint = 0 OR logs_seq < $5)
        RETURNING logs_bytes - $3
        """,
        job_id,
        lease_id,
        size_bytes,
        limit_bytes,
        seq,
    )
    return before


async def insert_logs(
    connection: Connection,
    job_id: UUID,
    times: Sequence[datetime],
    sources: Sequence[str],
    levels: Sequence[str],
    stages: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """Many log lines at once, in order."""
    await connection.execute(
        """-- jobs.insert_logs
        INSERT INTO provisioner_job_logs (job_id, created_at, source, level, stage, output)
        SELECT $1, t.created_at, t.source, t.level, t.stage, t.output
        FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[])
             WITH ORDINALITY AS t (created_at, source, level, stage, output, position)
        ORDER BY t.position
        """,
        job_id,
        times,
        sources,
        levels,
        stages,
        outputs,
    )
