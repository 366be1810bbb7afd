"""Workspaces over a `Client`."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.sdk.client import Client, segment
from devyard.wire.enums import AutomaticUpdates
from devyard.wire.workspaces import (
    CreateBuildRequest,
    CreateWorkspaceRequest,
    UsageRequest,
    Workspace,
    WorkspaceBuild,
    WorkspacesPage,
)


class _Schedule(msgspec.Struct):
    schedule: str | None


class _TTL(msgspec.Struct):
    ttl_ms: int | None


class _Deadline(msgspec.Struct):
    deadline: datetime


class _Name(msgspec.Struct):
    name: str


class _AutomaticUpdates(msgspec.Struct):
    automatic_updates: AutomaticUpdates


def list_workspaces(
    client: Client, query: str, limit: int = 0, offset: int = 0, *, after_id: UUID | None = None
) -> WorkspacesPage:
    """A page of workspaces by a `q` filter; limit 0 takes the server's, `after_id` continues behind one."""
    return client.get(
        "/workspaces",
        WorkspacesPage,
        q=query,
        limit=limit or None,
        offset=offset or None,
        after_id=str(after_id) if after_id else None,
    )


def load_workspace(client: Client, owner: str, name: str) -> Workspace:
    """A workspace by its owner (name or `me`) and name. Raises NotFound."""
    return client.get(f"/users/{segment(owner)}/workspace/{segment(name)}", Workspace)


def get_workspace(client: Client, workspace_id: UUID) -> Workspace:
    """A workspace by id. Raises NotFound."""
    return client.get(f"/workspaces/{workspace_id}", Workspace)


def create_workspace(client: Client, request: CreateWorkspaceRequest, owner: str = "me") -> Workspace:
    """A new workspace; its first build has begun."""
    return client.send("POST", f"/users/{segment(owner)}/workspaces", request, Workspace)


def create_build(client: Client, workspace_id: UUID, request: CreateBuildRequest) -> WorkspaceBuild:
    """The next build. Raises Conflict while another one is active."""
    return client.send("POST", f"/workspaces/{workspace_id}/builds", request, WorkspaceBuild)


def rename_workspace(client: Client, workspace_id: UUID, name: str) -> None:
    """Changes the name, where the deployment allows it."""
    client.do("PATCH", f"/workspaces/{workspace_id}", _Name(name))


def set_autostart(client: Client, workspace_id: UUID, schedule: str | None) -> None:
    """A cron schedule (`CRON_TZ=Europe/Berlin 30 9 * * 1-5`), or None for none."""
    client.do("PUT", f"/workspaces/{workspace_id}/autostart", _Schedule(schedule))


def set_ttl(client: Client, workspace_id: UUID, ttl_ms: int | None) -> None:
    """How long after a start the workspace stops, or None for never."""
    client.do("PUT", f"/workspaces/{workspace_id}/ttl", _TTL(ttl_ms))


def extend_deadline(client: Client, workspace_id: UUID, deadline: datetime) -> None:
    """Moves this build's stop to a time, in UTC."""
    client.do("PUT", f"/workspaces/{workspace_id}/extend", _Deadline(deadline))


def set_automatic_updates(client: Client, workspace_id: UUID, updates: AutomaticUpdates) -> None:
    """Whether a start takes the template's active version by itself."""
    client.do("PUT", f"/workspaces/{workspace_id}/autoupdates", _AutomaticUpdates(updates))


def set_favorite(client: Client, workspace_id: UUID, *, is_favorite: bool) -> None:
    """Puts the workspace on top of the caller's list, or back."""
    client.do("PUT" if is_favorite else "DELETE", f"/workspaces/{workspace_id}/favorite")


def report_usage(client: Client, workspace_id: UUID, request: UsageRequest) -> None:
    """Says that somebody works there now, which moves an idle stop."""
    client.do("POST", f"/workspaces/{workspace_id}/usage", request)
