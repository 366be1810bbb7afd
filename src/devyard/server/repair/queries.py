"""SQL of repairs: a workspace's last builds, and where its states are. Called by repair/actions."""

from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.repair.rules import RecentBuild

MAX_BUILDS = 50


async def list_recent_builds(executor: Executor, workspace_id: UUID) -> list[RecentBuild]:
    """The last builds, newest first."""
    rows = await executor.fetch(
        """-- repair.list_recent_builds
        SELECT b.id, b.build_number AS number, b.transition, j.status, j.error, j.possible_orphans,
               j.status IN ('running', 'canceling') AND coalesce(j.lease_expires_at < now(), true)
               AS is_unattended,
               v.id AS version_id, v.name AS version_name, NOT v.archived AND i.status = 'succeeded'
               AS is_version_usable
        FROM workspace_builds b JOIN provisioner_jobs j ON j.id = b.job_id
        JOIN template_versions v ON v.id = b.template_version_id JOIN provisioner_jobs i ON i.id = v.job_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT $2
        """,
        workspace_id,
        MAX_BUILDS,
    )
    return [msgspec.convert(dict(row), RecentBuild) for row in rows]


async def list_state_numbers(executor: Executor, workspace_id: UUID) -> list[int]:
    """The builds that have a state, newest first."""
    rows = await executor.fetch(
        """-- repair.list_state_numbers
        SELECT build_number FROM workspace_builds WHERE workspace_id = $1 AND state <> ''
        ORDER BY build_number DESC LIMIT 10
        """,
        workspace_id,
    )
    return [row["build_number"] for row in rows]


async def get_version_name(executor: Executor, version_id: UUID) -> str:
    """A template version's name."""
    name: str | None = await executor.fetchval(
        """-- repair.get_version_name
        SELECT name FROM template_versions WHERE id = $1
        """,
        version_id,
    )
    return name or ""
