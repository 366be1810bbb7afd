"""SQL of the job queue. `JobRow` is what other subjects are given; `JOB_COLUMNS` selects it in their own joins."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor, keyring_of
from devyard.server.encryption.places import JOB_VALUES
from devyard.wire.enums import JobStatus, JobType
from devyard.wire.jobs import ProvisionerJobLog

ENDED = frozenset({"succeeded", "failed", "canceled"})
"""Statuses after which nothing about a job changes."""


GIVEN_VALUES = ("parameters", "variables")
"""Parts of a job's input that users gave: they may be secret, so they are sealed, in a column of their own."""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `provisioner_jobs` without its result. Under `lease_id` alone may a result be applied."""

    id: UUID
    organization_id: UUID
    initiator_id: UUID
    type: JobType
    file_id: UUID
    template_version_id: UUID
    workspace_build_id: UUID | None
    tags: Mapping[str, str]
    status: JobStatus
    error: str
    error_code: str
    worker_id: UUID | None
    lease_id: UUID | None
    lease_expires_at: datetime | None
    logs_overflowed: bool
    created_at: datetime
    started_at: datetime | None
    canceled_at: datetime | None
    completed_at: datetime | None
    possible_orphans: Sequence[str] = ()

    @property
    def is_ended(self) -> bool:
        """Whether the job has reached its last status."""
        return self.status in ENDED


_FIELDS = JobRow.__struct_fields__
JOB_COLUMNS = ", ".join(f"j.{field}" for field in _FIELDS)
"""The columns of `JobRow` for `FROM provisioner_jobs j`."""
JOB_COLUMNS_PREFIXED = ", ".join(f"j.{field} AS job_{field}" for field in _FIELDS)
"""The same as `job_<column>`, for a join with other tables; read back with `job_from`."""


def job_from(record: Mapping[str, object]) -> JobRow:
    """The job of a record that was selected with `JOB_COLUMNS_PREFIXED`."""
    return JobRow(**{field: record[f"job_{field}"] for field in _FIELDS})  # type: ignore[arg-type]


async def insert_job(
    connection: Connection,
    *,
    job_id: UUID,
    organization_id: UUID,
    initiator_id: UUID,
    type: JobType,
    file_id: UUID,
    template_version_id: UUID,
    workspace_build_id: UUID | None,
    tags: Mapping[str, str],
    input: Mapping[str, object],
    priority: int = 0,
) -> JobRow:
    """A new pending job; those of a smaller `priority` are taken first."""
    given = {name: input[name] for name in GIVEN_VALUES if name in input}
    record = await connection.fetchrow(
        f"""-- jobs.insert_job
        INSERT INTO provisioner_jobs AS j (id, organization_id, initiator_id, type, file_id, template_version_id,
                                           workspace_build_id, tags, input, given_values, priority)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608  (constant column names)
        job_id,
        organization_id,
        initiator_id,
        type,
        file_id,
        template_version_id,
        workspace_build_id,
        dict(tags),
        {name: value for name, value in input.items() if name not in given},
        keyring_of(connection).seal_json(JOB_VALUES, job_id, given),
        priority,
    )
    return JobRow(**record)


async def get_job(executor: Executor, job_id: UUID) -> JobRow | None:
    """One job."""
    record = await executor.fetchrow(
        f"""-- jobs.get_job
        SELECT {JOB_COLUMNS} FROM provisioner_jobs j WHERE j.id = $1
        """,  # noqa: S608
        job_id,
    )
    return JobRow(**record) if record else None


async def list_queue_positions(executor: Executor, job_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """Position (from 1) and length of the queue for those of `job_ids` that are pending.

    Provisioners with the same tags share a queue: the jobs that they may take. A job in several stands where it is
    served first; one that no connected provisioner may take waits with those of the same tags.
    """
    records = await executor.fetch(
        """-- jobs.list_queue_positions
        WITH asked AS MATERIALIZED (
            SELECT id, organization_id, tags FROM provisioner_jobs
            WHERE id = ANY($1::uuid[]) AND status = 'pending'
        ), served AS (
            SELECT DISTINCT organization_id, tags FROM provisioner_daemons
            WHERE organization_id IN (SELECT organization_id FROM asked)
              AND last_seen_at > now() - interval '45 seconds'
        ), queues AS MATERIALIZED (
            SELECT row_number() OVER () AS number, q.* FROM (
                SELECT organization_id, tags, false AS is_own FROM served
                UNION ALL
                SELECT DISTINCT organization_id, tags, true FROM asked a WHERE NOT EXISTS (
                    SELECT FROM served s WHERE s.organization_id = a.organization_id
                      AND CASE WHEN a.tags = '{}' THEN s.tags = '{}' ELSE a.tags <@ s.tags END)
            ) q
        ), places AS (
            SELECT j.id, count(*) OVER w AS size,
                   row_number() OVER (w ORDER BY j.priority, j.created_at, j.id) AS position
            FROM queues q JOIN provisioner_jobs j ON j.organization_id = q.organization_id AND j.status = 'pending'
             AND CASE WHEN q.is_own OR j.tags = '{}' THEN j.tags = q.tags ELSE j.tags <@ q.tags END
            WINDOW w AS (PARTITION BY q.number)
        )
        SELECT DISTINCT ON (id) id, position, size FROM places WHERE id IN (SELECT id FROM asked)
        ORDER BY id, position, size DESC
        """,
        list(job_ids),
    )
    return {r["id"]: (r["position"], r["size"]) for r in records}


async def cancel_pending(connection: Connection, job_id: UUID, now: datetime) -> JobRow | None:
    """End a job that nobody has claimed yet."""
    record = await connection.fetchrow(
        f"""-- jobs.cancel_pending
        UPDATE provisioner_jobs AS j
        SET status = 'canceled', canceled_at = $2, completed_at = $2,
            error = 'The job was canceled before it began.'
        WHERE j.id = $1 AND j.status = 'pending'
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608
        job_id,
        now,
    )
    return JobRow(**record) if record else None


async def cancel_running(connection: Connection, job_id: UUID, now: datetime) -> JobRow | None:
    """Mark a running job as being canceled; its provisioner is told by whoever holds its socket."""
    record = await connection.fetchrow(
        f"""-- jobs.cancel_running
        UPDATE provisioner_jobs AS j SET status = 'canceling', canceled_at = $2
        WHERE j.id = $1 AND j.status = 'running'
        RETURNING {JOB_COLUMNS}
        """,  # noqa: S608
        job_id,
        now,
    )
    return JobRow(**record) if record else None


async def list_logs(
    executor: Executor, job_id: UUID, *, after: int, before: int, limit: int
) -> list[ProvisionerJobLog]:
    """Lines of a job's log, oldest first; `before` 0 means no upper end."""
    records = await executor.fetch(
        """-- jobs.list_logs
        SELECT id, created_at, source AS log_source, level AS log_level, stage, output
        FROM provisioner_job_logs
        WHERE job_id = $1 AND id > $2 AND ($3::bigint = 0 OR id < $3)
        ORDER BY id LIMIT $4
        """,
        job_id,
        after,
        before,
        limit,
    )
    return [ProvisionerJobLog(**record) for record in records]
