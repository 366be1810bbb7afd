"""Workspaces as the API shows them, from their rows and the time. Called by the workspace routes and actions."""

from datetime import datetime
from uuid import UUID

from devyard.server.agents.queries import AgentRow
from devyard.server.agents.rules import decide_status, decide_status_until
from devyard.server.builds.views import build_view
from devyard.server.jobs.views import present
from devyard.server.workspaces import rules, schedule
from devyard.server.workspaces.queries import WorkspaceRow
from devyard.wire.errors import Invalid
from devyard.wire.jobs import MatchedProvisioners
from devyard.wire.workspaces import Workspace


def workspace_view(
    row: WorkspaceRow,
    *,
    user_id: UUID,
    now: datetime,
    allow_renames: bool,
    queue: tuple[int, int] = (0, 0),
    matched: MatchedProvisioners | None = None,
) -> Workspace:
    """The API's view of a workspace for a user: only their own can be a favourite of theirs."""
    build = build_view(row.build, now=now, queue=queue, matched=matched)
    agents = [(agent.id, decide_status(agent.times, now)) for agent in list_agents(row)]
    return Workspace(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        owner_id=row.build.owner_id,
        owner_name=row.build.owner_name,
        owner_avatar_url=row.build.owner_avatar_url,
        organization_id=row.build.organization_id,
        organization_name=row.organization_name,
        template_id=row.build.template_id,
        template_name=row.build.template_name,
        template_display_name=row.build.template_display_name,
        template_icon=row.build.template_icon,
        template_allow_user_cancel_workspace_jobs=row.allow_user_cancel_workspace_jobs,
        template_active_version_id=row.active_version_id,
        template_require_active_version=row.require_active_version,
        latest_build=build,
        outdated=row.build.version_id != row.active_version_id,
        name=row.name,
        last_used_at=row.last_used_at,
        deleting_at=row.deleting_at,
        dormant_at=row.dormant_at,
        health=rules.decide_health(agents),
        automatic_updates=row.automatic_updates,
        allow_renames=allow_renames,
        favorite=row.favorite and row.build.owner_id == user_id,
        next_start_at=decide_next_start(row, now),
        autostart_schedule=present(row.autostart_schedule),
        ttl_ms=present(row.ttl_ms),
    )


def list_agents(row: WorkspaceRow) -> list[AgentRow]:
    """The agents of the latest build."""
    return [agent for resource in row.build.resources for agent in resource.agents]


def decide_next_start(row: WorkspaceRow, now: datetime) -> datetime | None:
    """When the workspace starts by itself next, if ever."""
    if not row.autostart_schedule or row.dormant_at or row.deleted_at:
        return None
    try:
        return schedule.find_next(schedule.parse_schedule(row.autostart_schedule), now)
    except Invalid:
        return None


def decide_valid_until(row: WorkspaceRow, now: datetime) -> datetime | None:
    """Until when the view stays right although no row changes; None: for ever; `now`: it may not be kept.

    Agents fall silent, next starts pass by, and the place in the queue moves without any of these rows moving.
    """
    if row.build.job.status == "pending":
        return now
    limits = [decide_status_until(agent.times, now) for agent in list_agents(row)]
    limits.append(decide_next_start(row, now))
    return min((limit for limit in limits if limit is not None), default=None)
