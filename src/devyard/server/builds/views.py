"""Builds and their resources as the API shows them. Called by the routes of builds and workspaces."""

from datetime import datetime
from typing import cast

from devyard.server.agents.views import agent_view
from devyard.server.builds import rules
from devyard.server.builds.queries import BuildRow
from devyard.server.jobs.views import job_view, present
from devyard.wire.enums import BuildReason
from devyard.wire.jobs import JobMetadata, MatchedProvisioners
from devyard.wire.workspaces import ResourceMetadata, WorkspaceBuild, WorkspaceResource

MASK = "**redacted**"


def build_view(
    row: BuildRow,
    *,
    now: datetime,
    queue: tuple[int, int] = (0, 0),
    matched: MatchedProvisioners | None = None,
) -> WorkspaceBuild:
    """The API's view of a build; while its job waits, `queue` is (position, size), `matched` who could take it."""
    return WorkspaceBuild(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        workspace_id=row.workspace_id,
        workspace_name=row.workspace_name,
        workspace_owner_id=row.owner_id,
        workspace_owner_name=row.owner_name,
        workspace_owner_avatar_url=row.owner_avatar_url,
        template_version_id=row.version_id,
        template_version_name=row.version_name,
        build_number=row.build_number,
        transition=row.transition,
        initiator_id=row.initiator_id,
        initiator_name=row.initiator_name,
        job=job_view(
            row.job, queue=queue, worker_name=row.worker_name, metadata=_job_metadata(row), matched=matched
        ),
        reason=cast("BuildReason", row.reason),
        resources=resource_views(row, now),
        status=rules.decide_status(row.transition, row.job.status),
        daily_cost=row.daily_cost,
        template_version_preset_id=row.preset_id,
        deadline=present(row.deadline),
        max_deadline=present(row.max_deadline),
        matched_provisioners=present(matched),
        possible_orphans=list(row.job.possible_orphans),
    )


def resource_views(row: BuildRow, now: datetime) -> list[WorkspaceResource]:
    """What a build made; sensitive metadata is masked."""
    return [
        WorkspaceResource(
            id=resource.id,
            created_at=resource.created_at,
            job_id=resource.job_id,
            workspace_transition=resource.transition,
            type=resource.type,
            name=resource.name,
            hide=resource.hide,
            icon=resource.icon,
            daily_cost=resource.daily_cost,
            agents=[
                agent_view(agent, workspace_name=row.workspace_name, owner_name=row.owner_name, now=now)
                for agent in resource.agents
            ],
            metadata=[
                ResourceMetadata(
                    key=item.key, value=MASK if item.sensitive else item.value, sensitive=item.sensitive
                )
                for item in resource.metadata
            ],
        )
        for resource in row.resources
    ]


def _job_metadata(row: BuildRow) -> JobMetadata:
    return JobMetadata(
        template_version_name=row.version_name,
        template_id=row.template_id,
        template_name=row.template_name,
        template_display_name=row.template_display_name,
        template_icon=row.template_icon,
        workspace_id=row.workspace_id,
        workspace_name=row.workspace_name,
    )
