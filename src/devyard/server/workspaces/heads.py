"""A workspace without its build: what permissions, new builds and changes of settings are decided on.

Called by the actions of workspaces and builds.
"""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.enums import AutomaticUpdates


class WorkspaceHead(msgspec.Struct, frozen=True):
    """A row of workspaces with its owner's name and its template's rules."""

    id: UUID
    name: str
    owner_id: UUID
    owner_name: str
    organization_id: UUID
    template_id: UUID
    autostart_schedule: str | None
    ttl_ms: int | None
    automatic_updates: AutomaticUpdates
    favorite: bool
    dormant_at: datetime | None
    deleted_at: datetime | None
    active_version_id: UUID
    require_active_version: bool


_SELECT = """SELECT w.id, w.name, w.owner_id, u.username AS owner_name, w.organization_id, w.template_id,
       w.autostart_schedule, w.ttl_ms, w.automatic_updates, w.favorite, w.dormant_at, w.deleted_at,
       t.active_version_id, t.require_active_version
FROM workspaces w JOIN users u ON u.id = w.owner_id JOIN templates t ON t.id = w.template_id"""


async def get_head(connection: Executor, workspace_id: UUID) -> WorkspaceHead | None:
    """A workspace, deleted or not."""
    row = await connection.fetchrow(f"-- workspaces.get_head\n{_SELECT} WHERE w.id = $1", workspace_id)
    return WorkspaceHead(**row) if row else None


async def lock_workspace(connection: Connection, workspace_id: UUID) -> WorkspaceHead | None:
    """A workspace that is not deleted, locked against other writers until the transaction ends."""
    row = await connection.fetchrow(
        f"-- workspaces.lock_workspace\n{_SELECT} WHERE w.id = $1 AND w.deleted_at IS NULL FOR NO KEY UPDATE OF w",
        workspace_id,
    )
    return WorkspaceHead(**row) if row else None
