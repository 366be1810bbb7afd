"""The list of jobs of an organization: its filter, its statement, its view."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.jobs.matching import decide_matched, load_queue
from devyard.server.jobs.queries import JOB_COLUMNS_PREFIXED, JobRow, job_from
from devyard.server.jobs.rules import Candidate, can_run
from devyard.server.jobs.views import job_view, present
from devyard.server.provisioners.queries import list_candidates
from devyard.wire.errors import Invalid, ValidationError
from devyard.wire.jobs import JobMetadata, ProvisionerJob

STATUSES = ("pending", "running", "succeeded", "canceling", "canceled", "failed")
TYPES = ("template_version_import", "workspace_build", "template_version_dry_run")


class ListedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job with the names that a list shows."""

    job: JobRow
    worker_name: str
    template_version_name: str
    template_id: UUID | None
    template_name: str
    template_display_name: str
    template_icon: str
    workspace_id: UUID | None
    workspace_name: str | None


_SELECT = f"""
        SELECT {JOB_COLUMNS_PREFIXED}, coalesce(d.name, '') AS worker_name, v.name AS template_version_name,
               t.id AS template_id, coalesce(t.name, '') AS template_name,
               coalesce(t.display_name, '') AS template_display_name, coalesce(t.icon, '') AS template_icon,
               w.id AS workspace_id, w.name AS workspace_name
        FROM provisioner_jobs j
        JOIN template_versions v ON v.id = j.template_version_id
        LEFT JOIN templates t ON t.id = v.template_id
        LEFT JOIN provisioner_daemons d ON d.id = j.worker_id
        LEFT JOIN workspace_builds b ON b.id = j.workspace_build_id
        LEFT JOIN workspaces w ON w.id = b.workspace_id"""  # noqa: S608  (constant column names)


async def list_jobs(
    executor: Executor,
    organization_id: UUID,
    *,
    limit: int,
    ids: Sequence[UUID] | None,
    statuses: Sequence[str] | None,
    tags: Mapping[str, str],
    types: Sequence[str] | None = None,
    initiator_id: UUID | None = None,
) -> list[ListedJob]:
    """Jobs of an organization, newest first."""
    records = await executor.fetch(
        f"""-- jobs.list_jobs
        {_SELECT}
        WHERE j.organization_id = $1 AND ($2::uuid[] IS NULL OR j.id = ANY($2))
          AND ($3::text[] IS NULL OR j.status = ANY($3)) AND j.tags @> $4::jsonb
          AND ($6::text[] IS NULL OR j.type = ANY($6)) AND ($7::uuid IS NULL OR j.initiator_id = $7)
        ORDER BY j.created_at DESC, j.id LIMIT $5
        """,
        organization_id,
        None if ids is None else list(ids),
        None if statuses is None else list(statuses),
        dict(tags),
        limit,
        None if types is None else list(types),
        initiator_id,
    )
    return [_row(record) for record in records]


async def get_listed_job(executor: Executor, organization_id: UUID, job_id: UUID) -> ListedJob | None:
    """One job of an organization."""
    record = await executor.fetchrow(
        f"""-- jobs.get_listed_job
        {_SELECT}
        WHERE j.organization_id = $1 AND j.id = $2
        """,
        organization_id,
        job_id,
    )
    return _row(record) if record else None


async def show_jobs(executor: Executor, organization_id: UUID, rows: Sequence[ListedJob]) -> list[ProvisionerJob]:
    """Jobs of an organization as the API shows them, the waiting ones with their place and who could take them."""
    queue = await load_queue(executor, [row.job for row in rows])
    candidates = await list_candidates(executor, organization_id) if queue else []
    return [_view(row, queue.get(row.job.id, (0, 0)), candidates) for row in rows]


def read_choices(field: str, text: str, allowed: Sequence[str]) -> list[str] | None:
    """Comma-separated choices of a query. Raises Invalid: one that does not exist."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [part for part in parts if part not in allowed]:
        detail = f'There is no {field} "{unknown[0][:40]}". Known: {", ".join(allowed)}.'
        raise Invalid(f"The {field} can't be read.", validations=[ValidationError(field, detail)])
    return parts or None


def _view(row: ListedJob, queue: tuple[int, int], candidates: Sequence[Candidate]) -> ProvisionerJob:
    metadata = JobMetadata(
        template_version_name=row.template_version_name,
        template_id=row.template_id or UUID(int=0),
        template_name=row.template_name,
        template_display_name=row.template_display_name,
        template_icon=row.template_icon,
        workspace_id=present(row.workspace_id),
        workspace_name=present(row.workspace_name),
    )
    is_waiting = row.job.status == "pending"
    able = [one.id for one in candidates if one.is_online and can_run(row.job.tags, one.tags)]
    return job_view(
        row.job,
        queue=queue,
        worker_name=row.worker_name,
        metadata=metadata,
        available_workers=able if is_waiting else None,
        matched=decide_matched(row.job, candidates) if is_waiting else None,
    )


_OWN = frozenset(ListedJob.__struct_fields__) - {"job"}


def _row(record: Mapping[str, Any]) -> ListedJob:
    return ListedJob(**{name: record[name] for name in _OWN}, job=job_from(record))
