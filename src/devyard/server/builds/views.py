"""Builds, their resources and timings as the API shows them. Called by the routes of builds and workspaces."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from devyard.server.agents.views import agent_view
from devyard.server.builds import queries, rules
from devyard.server.builds.queries import BuildRow
from devyard.server.jobs.views import job_view, present
from devyard.wire.enums import BuildReason
from devyard.wire.jobs import JobMetadata
from devyard.wire.provisionerresults import Timing
from devyard.wire.workspaces import (
    AgentConnectionTiming,
    AgentScriptTiming,
    BuildTimings,
    ProvisionerTiming,
    ResourceMetadata,
    WorkspaceBuild,
    WorkspaceResource,
)

MASK = "**redacted**"
_PUBLIC_STAGES = frozenset({"init", "plan", "graph", "apply"})


def build_view(row: BuildRow, *, now: datetime, queue: tuple[int, int] = (0, 0)) -> WorkspaceBuild:
    """The API's view of a build; `queue` is (position, size) while its job waits."""
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
        job=job_view(row.job, queue=queue, worker_name=row.worker_name, metadata=_job_metadata(row)),
        reason=cast("BuildReason", row.reason),
        resources=resource_views(row, now),
        status=rules.decide_status(row.transition, row.job.status),
        daily_cost=row.daily_cost,
        template_version_preset_id=row.preset_id,
        deadline=present(row.deadline),
        max_deadline=present(row.max_deadline),
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


def timings_view(
    row: BuildRow,
    timings: Sequence[Timing],
    scripts: Sequence[queries.ScriptTimingRow],
    agents: Sequence[queries.AgentTimingRow],
) -> BuildTimings:
    """Where a build's time went: Terraform, scripts, and the agents' way to their connection."""
    return BuildTimings(
        provisioner_timings=[
            ProvisionerTiming(
                job_id=row.job.id,
                started_at=timing.started_at,
                ended_at=timing.ended_at,
                stage=timing.stage,
                source=timing.source,
                action=timing.action,
                resource=timing.resource,
            )
            for timing in timings
            if timing.stage in _PUBLIC_STAGES
        ],
        agent_script_timings=[
            AgentScriptTiming(
                started_at=run.started_at,
                ended_at=run.ended_at,
                exit_code=run.exit_code,
                stage=run.stage,
                status=run.status,
                display_name=run.display_name,
                workspace_agent_id=run.agent_id,
                workspace_agent_name=run.agent_name,
            )
            for run in scripts
        ],
        agent_connection_timings=[
            AgentConnectionTiming(
                started_at=agent.created_at,
                ended_at=agent.first_connected_at,
                stage="connect",
                workspace_agent_id=agent.agent_id,
                workspace_agent_name=agent.agent_name,
            )
            for agent in agents
        ],
    )


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
