"""Jobs and their log lines as the API shows them."""

from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from devyard.server.jobs.queries import JobRow
from devyard.wire.jobs import JobInput, JobMetadata, MatchedProvisioners, ProvisionerJob

T = TypeVar("T")


def job_view(
    row: JobRow,
    *,
    queue: tuple[int, int] = (0, 0),
    worker_name: str = "",
    metadata: JobMetadata | None = None,
    available_workers: list[UUID] | None = None,
    matched: MatchedProvisioners | None = None,
) -> ProvisionerJob:
    """The API's view of a job; `queue` is (position, size) and `matched` who could take it while it is pending."""
    return ProvisionerJob(
        id=row.id,
        created_at=row.created_at,
        status=row.status,
        file_id=row.file_id,
        tags=tags_view(row.tags),
        queue_position=queue[0],
        queue_size=queue[1],
        organization_id=row.organization_id,
        input=JobInput(
            template_version_id=row.template_version_id, workspace_build_id=present(row.workspace_build_id)
        ),
        type=row.type,
        metadata=metadata or JobMetadata(),
        started_at=present(row.started_at),
        completed_at=present(row.completed_at),
        canceled_at=present(row.canceled_at),
        error=present(row.error or None),
        error_code=present(row.error_code or None),
        worker_id=present(row.worker_id),
        worker_name=present(worker_name or None),
        available_workers=msgspec.UNSET if available_workers is None else available_workers,
        logs_overflowed=row.logs_overflowed,
        waiting_reason=present((matched.reason if matched else "") or None),
    )


def tags_view(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with the two that clients expect on every job and daemon."""
    return {"scope": "organization", "owner": "", **tags}


def present(value: T | None) -> T | msgspec.UnsetType:
    """`value`, or nothing at all on the wire where it is None."""
    return msgspec.UNSET if value is None else value
