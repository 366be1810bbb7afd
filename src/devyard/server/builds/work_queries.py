"""SQL for the job that runs a build: what it is given, and what it leaves behind.

Called by builds/actions under the job's lease, inside the caller's transaction.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, keyring_of
from devyard.server.encryption.keyring import Keyring
from devyard.server.encryption.places import AGENT_ENVIRONMENT, GIT_KEY, SCRIPT, STATE, VARIABLE_VALUES
from devyard.wire.enums import Transition
from devyard.wire.parameters import ParameterDefinition
from devyard.wire.provisionerlink import Variable
from devyard.wire.provisionerresults import Timing


class WorkRow(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but states and values that a build's job is made of."""

    build_id: UUID
    build_number: int
    transition: Transition
    created_at: datetime
    workspace_id: UUID
    workspace_name: str
    ttl_ms: int | None
    organization_id: UUID
    owner_id: UUID
    owner_name: str
    owner_full_name: str
    owner_email: str
    owner_login_type: str
    owner_roles: list[str]
    owner_public_key: str
    owner_private_key: str
    template_id: UUID
    template_name: str
    version_id: UUID
    version_name: str
    parameters: list[ParameterDefinition]
    variable_values: list[Variable]
    agent_resources: dict[str, str]
    initiator_id: UUID
    initiator_name: str
    previous_build_id: UUID | None
    previous_parameters: list[ParameterDefinition]


async def get_work(connection: Connection, job_id: UUID) -> WorkRow | None:
    """The build that a job runs; its workspace stays locked until the transaction ends."""
    row = await connection.fetchrow(
        """-- builds.get_work
        SELECT b.id AS build_id, b.build_number, b.transition, b.created_at, w.id AS workspace_id,
               w.name AS workspace_name, w.ttl_ms, w.organization_id, o.id AS owner_id, o.username AS owner_name,
               o.name AS owner_full_name, o.email AS owner_email, o.login_type AS owner_login_type,
               o.site_roles AS owner_roles, o.git_public_key AS owner_public_key,
               o.git_private_key AS owner_private_key, t.id AS template_id, t.name AS template_name,
               v.id AS version_id, v.name AS version_name, v.parameters, v.variable_values, v.agent_resources,
               i.id AS initiator_id, i.username AS initiator_name, p.id AS previous_build_id,
               coalesce(pv.parameters, '[]') AS previous_parameters
        FROM workspace_builds b
        JOIN workspaces w ON w.id = b.workspace_id
        JOIN users o ON o.id = w.owner_id
        JOIN users i ON i.id = b.initiator_id
        JOIN templates t ON t.id = w.template_id
        JOIN template_versions v ON v.id = b.template_version_id
        LEFT JOIN workspace_builds p ON p.workspace_id = b.workspace_id AND p.build_number = b.build_number - 1
        LEFT JOIN template_versions pv ON pv.id = p.template_version_id
        WHERE b.job_id = $1
        FOR NO KEY UPDATE OF w
        """,
        job_id,
    )
    if row is None:
        return None
    keyring, fields = keyring_of(connection), dict(row)
    fields["owner_private_key"] = keyring.open_text(GIT_KEY, row["owner_id"], row["owner_private_key"])
    fields["variable_values"] = keyring.open_json(VARIABLE_VALUES, row["version_id"], row["variable_values"])
    return msgspec.convert(fields, WorkRow)


async def delete_build_keys(connection: Connection, workspace_id: UUID) -> None:
    """Remove the session tokens that earlier builds of a workspace were given."""
    await connection.execute(
        """-- builds.delete_build_keys
        DELETE FROM api_keys k USING workspace_builds b
        WHERE k.workspace_build_id = b.id AND b.workspace_id = $1
        """,
        workspace_id,
    )


async def update_state(connection: Connection, build_id: UUID, *, state: bytes, serial: int, lineage: str) -> None:
    """Keep a state with the build that produced it."""
    await connection.execute(
        """-- builds.update_state
        UPDATE workspace_builds SET state = $2, state_serial = $3, state_lineage = $4, updated_at = now()
        WHERE id = $1
        """,
        build_id,
        keyring_of(connection).seal_bytes(STATE, build_id, state),
        serial,
        lineage,
    )


async def end_build(
    connection: Connection, build_id: UUID, *, daily_cost: int = 0, deadline: datetime | None = None
) -> None:
    """The build is over; the workspace may be built again."""
    await connection.execute(
        """-- builds.end_build
        UPDATE workspace_builds SET is_active = false, daily_cost = $2, deadline = $3, updated_at = now()
        WHERE id = $1
        """,
        build_id,
        daily_cost,
        deadline,
    )


async def update_timings(
    connection: Connection, job_id: UUID, timings: Sequence[Timing], *, error: str | None = None
) -> None:
    """Spans of the build, and the error as people should read it."""
    await connection.execute(
        """-- builds.update_timings
        UPDATE provisioner_jobs SET timings = $2, error = coalesce($3, error) WHERE id = $1
        """,
        job_id,
        timings,
        error,
    )


async def is_debug(connection: Connection, job_id: UUID) -> bool:
    """Whether the build was asked for with debug logs."""
    found: bool = await connection.fetchval(
        """-- builds.is_debug
        SELECT coalesce(input->>'log_level' = 'debug', false) FROM provisioner_jobs WHERE id = $1
        """,
        job_id,
    )
    return found


async def has_refresh(connection: Connection, job_id: UUID) -> bool:
    """Whether the build has to look at what really exists, as a repair does."""
    found: bool = await connection.fetchval(
        """-- builds.has_refresh
        SELECT coalesce(input->>'refresh' = 'true', false) FROM provisioner_jobs WHERE id = $1
        """,
        job_id,
    )
    return found


async def mark_workspace_deleted(connection: Connection, workspace_id: UUID, now: datetime) -> None:
    """A workspace whose delete build succeeded is gone; its name is free."""
    await connection.execute(
        """-- builds.mark_workspace_deleted
        UPDATE workspaces SET deleted_at = $2, updated_at = $2 WHERE id = $1 AND deleted_at IS NULL
        """,
        workspace_id,
        now,
    )


async def touch_workspace(connection: Connection, workspace_id: UUID, now: datetime) -> None:
    """A start counts as use."""
    await connection.execute(
        """-- builds.touch_workspace
        UPDATE workspaces SET last_used_at = $2, updated_at = $2 WHERE id = $1
        """,
        workspace_id,
        now,
    )


_INSERTS: dict[str, tuple[str, ...]] = {
    "workspace_resources": (
        "id", "build_id", "job_id", "address", "transition", "type", "name", "hide", "icon", "daily_cost",
        "metadata", "created_at",
    ),
    "workspace_agents": (
        "id", "resource_id", "build_id", "workspace_id", "name", "token_hash", "os", "arch", "auth",
        "instance_id", "directory", "environment", "motd_file", "position", "connection_timeout_s",
        "troubleshooting_url", "startup_behavior", "api_key_scope", "display_apps", "monitors", "created_at",
        "updated_at",
    ),
    "workspace_apps": (
        "id", "agent_id", "slug", "display_name", "url", "command", "icon", "subdomain", "sharing_level",
        "external", "health_url", "health_interval_s", "health_threshold", "health", "hidden", "open_in",
        "position", "group_name", "tooltip",
    ),
    "workspace_agent_log_sources": ("id", "agent_id", "display_name", "icon", "created_at"),
    "workspace_agent_scripts": (
        "id", "agent_id", "log_source_id", "display_name", "script", "log_path", "cron", "run_on_start",
        "run_on_stop", "start_blocks_login", "timeout_s", "position",
    ),
    "workspace_agent_metadata": (
        "agent_id", "key", "display_name", "script", "interval_s", "timeout_s", "position",
    ),
}  # fmt: skip
_STATEMENTS = {
    table: f"-- builds.insert_{table}\nINSERT INTO {table} ({', '.join(columns)}) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, len(columns) + 1))})"
    for table, columns in _INSERTS.items()
}


async def insert_rows(connection: Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of one of the tables of `_INSERTS`, in one round trip."""
    if rows:
        columns = _INSERTS[table]
        rows = [_seal_row(keyring_of(connection), table, row) for row in rows]
        await connection.executemany(_STATEMENTS[table], [[row[column] for column in columns] for row in rows])


def _seal_row(keyring: Keyring, table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table == AGENT_ENVIRONMENT.table:
        sealed = keyring.seal_json(AGENT_ENVIRONMENT, row["id"], row["environment"])
        return {**row, "environment": sealed}
    if table == SCRIPT.table:
        return {**row, "script": keyring.seal_text(SCRIPT, row["id"], row["script"])}
    return row


def list_tables() -> Iterable[str]:
    """The tables that a finished build fills, parents first."""
    return _INSERTS.keys()
