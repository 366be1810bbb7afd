"""Resources that a plan foresees: how they are kept as JSON, and how the API shows them before anything exists.

Called for template versions and dry runs. Secrets (agent tokens, sensitive metadata) are never kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID, uuid5

import msgspec

from devyard.wire.enums import DisplayApp, OpenIn, SharingLevel, StartupBehavior, Transition
from devyard.wire.provisionerresults import AgentResult, AppResult, ResourceResult
from devyard.wire.workspaces import (
    AgentHealth,
    Healthcheck,
    ResourceMetadata,
    WorkspaceAgent,
    WorkspaceApp,
    WorkspaceResource,
)


class Planned(msgspec.Struct, frozen=True):
    """A resource with the transition whose plan has it."""

    transition: Literal["start", "stop"]
    resource: ResourceResult


def keep_planned(
    transition: Literal["start", "stop"], resources: Iterable[ResourceResult]
) -> list[dict[str, Any]]:
    """The resources as JSON, without their secrets."""
    kept: list[dict[str, Any]] = []
    for resource in resources:
        agents = tuple(msgspec.structs.replace(agent, token="", monitors=b"") for agent in resource.agents)
        metadata = tuple(
            msgspec.structs.replace(item, value="") if item.sensitive else item for item in resource.metadata
        )
        clean = msgspec.structs.replace(resource, agents=agents, metadata=metadata)
        kept.append(msgspec.to_builtins(Planned(transition, clean)))
    return kept


def planned_views(
    kept: Sequence[Mapping[str, Any]], *, job_id: UUID, created_at: datetime
) -> list[WorkspaceResource]:
    """The kept resources as the API shows them; ids are derived, so that they stay the same."""
    return [_resource_view(msgspec.convert(item, Planned), job_id, created_at) for item in kept]


def _resource_view(planned: Planned, job_id: UUID, created_at: datetime) -> WorkspaceResource:
    resource = planned.resource
    resource_id = uuid5(job_id, f"{planned.transition} {resource.address}")
    return WorkspaceResource(
        id=resource_id,
        created_at=created_at,
        job_id=job_id,
        workspace_transition=cast("Transition", planned.transition),
        type=resource.type,
        name=resource.name,
        hide=resource.hide,
        icon=resource.icon,
        daily_cost=resource.daily_cost,
        agents=[_agent_view(agent, resource_id, created_at) for agent in resource.agents],
        metadata=[ResourceMetadata(item.key, item.value, item.sensitive) for item in resource.metadata],
    )


def _agent_view(agent: AgentResult, resource_id: UUID, created_at: datetime) -> WorkspaceAgent:
    agent_id = uuid5(resource_id, agent.name)
    return WorkspaceAgent(
        id=agent_id,
        parent_id=None,
        created_at=created_at,
        updated_at=created_at,
        status="connecting",
        lifecycle_state="created",
        name=agent.name,
        resource_id=resource_id,
        architecture=agent.arch,
        environment_variables=dict(agent.environment),
        operating_system=agent.os,
        logs_length=0,
        logs_overflowed=False,
        version="",
        api_version="",
        apps=[_app_view(app, agent_id) for app in agent.apps],
        connection_timeout_seconds=agent.connection_timeout_s,
        troubleshooting_url=agent.troubleshooting_url,
        subsystems=[],
        health=AgentHealth(healthy=False, reason="agent has not yet connected"),
        display_apps=[cast("DisplayApp", app) for app in agent.display_apps],
        log_sources=[],
        scripts=[],
        startup_script_behavior=cast("StartupBehavior", agent.startup_behavior or "non-blocking"),
        directory=agent.directory or msgspec.UNSET,
    )


def _app_view(app: AppResult, agent_id: UUID) -> WorkspaceApp:
    return WorkspaceApp(
        id=uuid5(agent_id, app.slug),
        slug=app.slug,
        display_name=app.display_name or app.slug,
        external=app.external,
        subdomain=app.subdomain,
        sharing_level=cast("SharingLevel", app.share or "owner"),
        healthcheck=Healthcheck(app.health_url, app.health_interval_s, app.health_threshold),
        health="disabled",
        hidden=app.hidden,
        open_in=cast("OpenIn", app.open_in or "slim-window"),
        url=app.url,
        icon=app.icon or msgspec.UNSET,
        group=app.group,
        tooltip=app.tooltip,
        order=app.order,
    )
