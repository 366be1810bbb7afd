"""SQL of templates."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A template with the names that go with it."""

    id: UUID
    organization_id: UUID
    organization_name: str
    organization_display_name: str
    organization_icon: str
    name: str
    display_name: str
    description: str
    icon: str
    active_version_id: UUID
    created_by: UUID
    created_by_name: str
    default_ttl_ms: int
    activity_bump_ms: int
    settings: Mapping[str, Any]
    allow_user_cancel_workspace_jobs: bool
    require_active_version: bool
    deprecation_message: str
    created_at: datetime
    updated_at: datetime
    active_user_count: int
    is_deleted: bool


TEMPLATE_COLUMNS = """t.id, t.organization_id, o.name AS organization_name,
               o.display_name AS organization_display_name, o.icon AS organization_icon, t.name, t.display_name,
               t.description, t.icon, t.active_version_id, t.created_by, u.username AS created_by_name,
               t.default_ttl_ms, t.activity_bump_ms, t.settings, t.allow_user_cancel_workspace_jobs,
               t.require_active_version, t.deprecation_message, t.created_at, t.updated_at,
               t.deleted_at IS NOT NULL AS is_deleted,
               (SELECT count(DISTINCT w.owner_id) FROM workspaces w
                WHERE w.template_id = t.id AND w.deleted_at IS NULL
                  AND w.last_used_at > now() - interval '7 days') AS active_user_count"""
TEMPLATE_JOINS = (
    """templates t JOIN organizations o ON o.id = t.organization_id JOIN users u ON u.id = t.created_by"""
)


async def get_template(executor: Executor, template_id: UUID) -> TemplateRow | None:
    """A template by id."""
    record = await executor.fetchrow(
        f"""-- templates.get_template
        SELECT {TEMPLATE_COLUMNS} FROM {TEMPLATE_JOINS} WHERE t.id = $1 AND t.deleted_at IS NULL
        """,  # noqa: S608  (constant text, here and below)
        template_id,
    )
    return TemplateRow(**record) if record else None


async def get_template_by_name(executor: Executor, organization_id: UUID, name: str) -> TemplateRow | None:
    """A template by organization and name."""
    record = await executor.fetchrow(
        f"""-- templates.get_template_by_name
        SELECT {TEMPLATE_COLUMNS} FROM {TEMPLATE_JOINS}
        WHERE t.organization_id = $1 AND lower(t.name) = lower($2) AND t.deleted_at IS NULL
        """,  # noqa: S608
        organization_id,
        name,
    )
    return TemplateRow(**record) if record else None


async def lock_template(connection: Connection, template_id: UUID) -> bool:
    """Lock a template until the transaction ends; False where it is gone."""
    return bool(
        await connection.fetchval(
            """-- templates.lock_template
            SELECT true FROM templates WHERE id = $1 AND deleted_at IS NULL FOR UPDATE
            """,
            template_id,
        )
    )


async def insert_template(
    connection: Connection,
    *,
    template_id: UUID,
    organization_id: UUID,
    name: str,
    display_name: str,
    description: str,
    icon: str,
    active_version_id: UUID,
    created_by: UUID,
    default_ttl_ms: int,
    activity_bump_ms: int,
    settings: Mapping[str, object],
    allow_user_cancel_workspace_jobs: bool,
    require_active_version: bool,
) -> None:
    """A new template."""
    await connection.execute(
        """-- templates.insert_template
        INSERT INTO templates (id, organization_id, name, display_name, description, icon, active_version_id,
                               created_by, default_ttl_ms, activity_bump_ms, settings,
                               allow_user_cancel_workspace_jobs, require_active_version)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        """,
        template_id,
        organization_id,
        name,
        display_name,
        description,
        icon,
        active_version_id,
        created_by,
        default_ttl_ms,
        activity_bump_ms,
        dict(settings),
        allow_user_cancel_workspace_jobs,
        require_active_version,
    )


async def update_template(
    connection: Connection,
    template_id: UUID,
    *,
    name: str,
    display_name: str,
    description: str,
    icon: str,
    default_ttl_ms: int,
    activity_bump_ms: int,
    settings: Mapping[str, object],
    allow_user_cancel_workspace_jobs: bool,
    require_active_version: bool,
    deprecation_message: str,
) -> None:
    """Set what can be changed of a template."""
    await connection.execute(
        """-- templates.update_template
        UPDATE templates
        SET name = $2, display_name = $3, description = $4, icon = $5, default_ttl_ms = $6, activity_bump_ms = $7,
            settings = $8, allow_user_cancel_workspace_jobs = $9, require_active_version = $10,
            deprecation_message = $11, updated_at = now()
        WHERE id = $1
        """,
        template_id,
        name,
        display_name,
        description,
        icon,
        default_ttl_ms,
        activity_bump_ms,
        dict(settings),
        allow_user_cancel_workspace_jobs,
        require_active_version,
        deprecation_message,
    )


async def touch_workspaces(connection: Connection, template_id: UUID) -> None:
    """All workspaces of a template count as used now."""
    await connection.execute(
        """-- templates.touch_workspaces
        UPDATE workspaces SET last_used_at = now() WHERE template_id = $1 AND deleted_at IS NULL
        """,
        template_id,
    )


async def update_active_version(connection: Connection, template_id: UUID, version_id: UUID) -> None:
    """The version that new builds take."""
    await connection.execute(
        """-- templates.update_active_version
        UPDATE templates SET active_version_id = $2, updated_at = now() WHERE id = $1
        """,
        template_id,
        version_id,
    )


async def delete_template(connection: Connection, template_id: UUID) -> None:
    """Mark a template as deleted; its name is free again."""
    await connection.execute(
        """-- templates.delete_template
        UPDATE templates SET deleted_at = now(), updated_at = now() WHERE id = $1
        """,
        template_id,
    )


async def count_workspaces(executor: Executor, template_id: UUID) -> int:
    """How many workspaces were made from a template and still are."""
    count: int = await executor.fetchval(
        """-- templates.count_workspaces
        SELECT count(*) FROM workspaces WHERE template_id = $1 AND deleted_at IS NULL
        """,
        template_id,
    )
    return count


async def list_build_times(
    executor: Executor, template_ids: Sequence[UUID]
) -> dict[tuple[UUID, str], tuple[int | None, int | None]]:
    """(template, transition) → median and 95th percentile in milliseconds of the last month's builds."""
    records = await executor.fetch(
        """-- templates.list_build_times
        SELECT v.template_id, b.transition,
               percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
                   ORDER BY extract(epoch FROM j.completed_at - j.started_at) * 1000) AS times
        FROM workspace_builds b
        JOIN provisioner_jobs j ON j.id = b.job_id
        JOIN template_versions v ON v.id = b.template_version_id
        WHERE v.template_id = ANY($1::uuid[]) AND j.status = 'succeeded'
          AND b.created_at > now() - interval '30 days'
        GROUP BY v.template_id, b.transition
        """,
        list(template_ids),
    )
    return {(r["template_id"], r["transition"]): (round(r["times"][0]), round(r["times"][1])) for r in records}
