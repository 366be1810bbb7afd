"""SQL that changes workspaces. Called by the workspace actions inside their transactions."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.enums import AutomaticUpdates, JobStatus, Transition


class OwnerRow(msgspec.Struct, frozen=True):
    """Who is to own a workspace."""

    username: str
    organization_ids: list[UUID]


async def get_owner(connection: Connection, user_id: UUID) -> OwnerRow | None:
    """A user who can own workspaces."""
    row = await connection.fetchrow(
        """-- workspaces.get_owner
        SELECT u.username,
               ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids
        FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL
        """,
        user_id,
    )
    return OwnerRow(**row) if row else None


async def get_active_version_id(connection: Connection, template_id: UUID) -> UUID | None:
    """The version that new workspaces of a template take."""
    version_id: UUID | None = await connection.fetchval(
        """-- workspaces.get_active_version_id
        SELECT active_version_id FROM templates WHERE id = $1 AND deleted_at IS NULL
        """,
        template_id,
    )
    return version_id


async def insert_workspace(
    connection: Connection,
    *,
    workspace_id: UUID,
    owner_id: UUID,
    organization_id: UUID,
    template_id: UUID,
    name: str,
    autostart_schedule: str | None,
    ttl_ms: int | None,
    automatic_updates: AutomaticUpdates,
) -> None:
    """A workspace without a build."""
    await connection.execute(
        """-- workspaces.insert_workspace
        INSERT INTO workspaces (id, owner_id, organization_id, template_id, name, autostart_schedule, ttl_ms,
                                automatic_updates)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        workspace_id,
        owner_id,
        organization_id,
        template_id,
        name,
        autostart_schedule,
        ttl_ms,
        automatic_updates,
    )


async def update_name(connection: Connection, workspace_id: UUID, name: str) -> None:
    """Another name."""
    await connection.execute(
        """-- workspaces.update_name
        UPDATE workspaces SET name = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        name,
    )


async def update_autostart(connection: Connection, workspace_id: UUID, schedule: str | None) -> None:
    """The schedule of automatic starts."""
    await connection.execute(
        """-- workspaces.update_autostart
        UPDATE workspaces SET autostart_schedule = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        schedule,
    )


async def update_ttl(connection: Connection, workspace_id: UUID, ttl_ms: int | None) -> None:
    """The time to live of starts to come."""
    await connection.execute(
        """-- workspaces.update_ttl
        UPDATE workspaces SET ttl_ms = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        ttl_ms,
    )


async def clear_deadline(connection: Connection, workspace_id: UUID) -> None:
    """The latest build does not stop by itself any more, unless the template makes it."""
    await connection.execute(
        """-- workspaces.clear_deadline
        UPDATE workspace_builds b SET deadline = b.max_deadline, updated_at = now()
        FROM workspaces w WHERE w.id = $1 AND b.id = w.latest_build_id AND b.deadline IS NOT NULL
        """,
        workspace_id,
    )


async def update_automatic_updates(connection: Connection, workspace_id: UUID, value: AutomaticUpdates) -> None:
    """Whether starts take the active version."""
    await connection.execute(
        """-- workspaces.update_automatic_updates
        UPDATE workspaces SET automatic_updates = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        value,
    )


async def update_favorite(connection: Connection, workspace_id: UUID, is_favorite: bool) -> None:
    """Whether its owner has pinned it."""
    await connection.execute(
        """-- workspaces.update_favorite
        UPDATE workspaces SET favorite = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        is_favorite,
    )


async def update_dormant(
    connection: Connection, workspace_id: UUID, dormant_at: datetime | None, now: datetime
) -> None:
    """Since when it sleeps; one that wakes counts as used now."""
    await connection.execute(
        """-- workspaces.update_dormant
        UPDATE workspaces SET dormant_at = $2, deleting_at = NULL, updated_at = $3,
               last_used_at = CASE WHEN $2::timestamptz IS NULL THEN $3 ELSE last_used_at END
        WHERE id = $1
        """,
        workspace_id,
        dormant_at,
        now,
    )


class DeadlineRow(msgspec.Struct, frozen=True):
    """The latest build's deadline and whether it runs."""

    build_id: UUID
    transition: Transition
    job_status: JobStatus
    deadline: datetime | None
    max_deadline: datetime | None


async def get_deadline(connection: Connection, workspace_id: UUID) -> DeadlineRow:
    """The deadline of the latest build; every workspace has one from its first transaction on."""
    row = await connection.fetchrow(
        """-- workspaces.get_deadline
        SELECT b.id AS build_id, b.transition, j.status AS job_status, b.deadline, b.max_deadline
        FROM workspaces w JOIN workspace_builds b ON b.id = w.latest_build_id
        JOIN provisioner_jobs j ON j.id = b.job_id WHERE w.id = $1
        """,
        workspace_id,
    )
    return DeadlineRow(**row)


async def update_deadline(connection: Connection, build_id: UUID, deadline: datetime) -> None:
    """When the build's workspace stops by itself."""
    await connection.execute(
        """-- workspaces.update_deadline
        UPDATE workspace_builds SET deadline = $2, updated_at = now() WHERE id = $1
        """,
        build_id,
        deadline,
    )


async def record_use(connection: Executor, workspace_id: UUID, now: datetime, bump: bool) -> None:
    """That somebody uses a workspace; `bump` moves its deadline as the template says, never past the last one.

    Written at most once a minute for each workspace: uses in between change nothing.
    """
    await connection.execute(
        """-- workspaces.record_use
        WITH used AS (
            UPDATE workspaces SET last_used_at = $2
            WHERE id = $1 AND last_used_at < $2::timestamptz - interval '1 minute'
        )
        UPDATE workspace_builds b
        SET deadline = least(greatest(b.deadline, $2::timestamptz + t.activity_bump_ms * interval '1 millisecond'),
                             coalesce(b.max_deadline, 'infinity')), updated_at = $2
        FROM workspaces w JOIN templates t ON t.id = w.template_id
        WHERE $3 AND w.id = $1 AND b.id = w.latest_build_id AND b.transition = 'start' AND NOT b.is_active
          AND b.deadline < $2::timestamptz + t.activity_bump_ms * interval '1 millisecond' - interval '1 minute'
        """,
        workspace_id,
        now,
        bump,
    )
