"""SQL that makes a build. Called by builds/create and by the action that makes a workspace."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from devyard.server.db.pool import Connection
from devyard.wire.enums import BuildReason, Transition


async def insert_build(
    connection: Connection,
    *,
    build_id: UUID,
    workspace_id: UUID,
    build_number: int,
    transition: Transition,
    reason: BuildReason,
    version_id: UUID,
    preset_id: UUID | None,
    initiator_id: UUID,
    job_id: UUID,
) -> None:
    """An active build; the unique index on active builds refuses a second one."""
    await connection.execute(
        """-- builds.insert_build
        INSERT INTO workspace_builds (id, workspace_id, build_number, transition, reason, template_version_id,
                                      preset_id, initiator_id, job_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        build_id,
        workspace_id,
        build_number,
        transition,
        reason,
        version_id,
        preset_id,
        initiator_id,
        job_id,
    )


async def insert_parameters(connection: Connection, build_id: UUID, values: Mapping[str, str]) -> None:
    """A build's parameter values."""
    await connection.execute(
        """-- builds.insert_parameters
        INSERT INTO workspace_build_parameters (build_id, name, value)
        SELECT $1, name, value FROM unnest($2::text[], $3::text[]) AS x (name, value)
        """,
        build_id,
        list(values.keys()),
        list(values.values()),
    )


async def update_latest_build(connection: Connection, workspace_id: UUID, build_id: UUID) -> None:
    """The build is the workspace's latest from now on."""
    await connection.execute(
        """-- builds.update_latest_build
        UPDATE workspaces SET latest_build_id = $2, updated_at = now() WHERE id = $1
        """,
        workspace_id,
        build_id,
    )


async def complete_job(connection: Connection, build_id: UUID, now: datetime) -> None:
    """End the job of a build that needs no provisioner, before anyone could claim it."""
    await connection.execute(
        """-- builds.complete_job
        UPDATE provisioner_jobs SET status = 'succeeded', started_at = $2, completed_at = $2
        WHERE workspace_build_id = $1 AND status = 'pending'
        """,
        build_id,
        now,
    )


async def forget_states(connection: Connection, workspace_id: UUID) -> None:
    """Drop every Terraform state of a workspace whose resources are left to themselves."""
    await connection.execute(
        """-- builds.forget_states
        UPDATE workspace_builds SET state = '', state_serial = -1, state_lineage = ''
        WHERE workspace_id = $1 AND state <> ''
        """,
        workspace_id,
    )


async def is_cancel_allowed(connection: Connection, template_id: UUID) -> bool:
    """Whether users of a template may cancel their builds."""
    allowed: bool | None = await connection.fetchval(
        """-- builds.is_cancel_allowed
        SELECT allow_user_cancel_workspace_jobs FROM templates WHERE id = $1
        """,
        template_id,
    )
    return bool(allowed)
