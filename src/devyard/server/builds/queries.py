"""SQL that reads builds: for the API's views, for a new build, and for the job that runs one.

Called by the build and workspace actions. `BUILD_COLUMNS`/`BUILD_JOINS` are what other statements select a
`BuildRow` with; rows become plain values here.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.agents.queries import AGENT_JSON, AgentRow, open_agent
from devyard.server.db.pool import Executor, keyring_of
from devyard.server.encryption.keyring import Keyring
from devyard.server.encryption.places import STATE
from devyard.server.jobs.queries import JOB_COLUMNS_PREFIXED, JobRow, job_from
from devyard.wire.enums import JobStatus, Transition
from devyard.wire.parameters import ParameterDefinition


class ResourceMetadataRow(msgspec.Struct, frozen=True):
    """An item of a resource's metadata."""

    key: str
    value: str
    sensitive: bool


class ResourceRow(msgspec.Struct, frozen=True):
    """A row of workspace_resources with its agents."""

    id: UUID
    job_id: UUID
    transition: Transition
    type: str
    name: str
    hide: bool
    icon: str
    daily_cost: int
    metadata: list[ResourceMetadataRow]
    created_at: datetime
    agents: list[AgentRow]


class BuildRow(msgspec.Struct, frozen=True, kw_only=True):
    """A build with its job, names that people read, and what it made."""

    id: UUID
    workspace_id: UUID
    workspace_name: str
    owner_id: UUID
    owner_name: str
    owner_avatar_url: str
    organization_id: UUID
    build_number: int
    transition: Transition
    reason: str
    version_id: UUID
    version_name: str
    preset_id: UUID | None
    initiator_id: UUID
    initiator_name: str
    daily_cost: int
    deadline: datetime | None
    max_deadline: datetime | None
    created_at: datetime
    updated_at: datetime
    template_id: UUID
    template_name: str
    template_display_name: str
    template_icon: str
    worker_name: str
    job: JobRow
    resources: list[ResourceRow]


RESOURCES_JSON = f"""(SELECT coalesce(json_agg(json_build_object('id', r.id, 'job_id', r.job_id,
        'transition', r.transition, 'type', r.type, 'name', r.name, 'hide', r.hide, 'icon', r.icon,
        'daily_cost', r.daily_cost, 'metadata', r.metadata, 'created_at', r.created_at,
        'agents', (SELECT coalesce(json_agg({AGENT_JSON} ORDER BY a.position, a.name), '[]')
                     FROM workspace_agents a WHERE a.resource_id = r.id)) ORDER BY r.type, r.name, r.id), '[]')
    FROM workspace_resources r WHERE r.build_id = b.id)::text"""  # noqa: S608
"""What the build `b` made, as JSON that decodes to a list of `ResourceRow`."""

BUILD_COLUMNS = f"""b.id AS build_id, b.workspace_id, w.name AS workspace_name, w.owner_id,
    o.username AS owner_name, o.avatar_url AS owner_avatar_url, w.organization_id, b.build_number, b.transition,
    b.reason, b.template_version_id AS version_id, v.name AS version_name, b.preset_id, b.initiator_id,
    i.username AS initiator_name, b.daily_cost, b.deadline, b.max_deadline, b.created_at AS build_created_at,
    b.updated_at AS build_updated_at, t.id AS template_id, t.name AS template_name,
    t.display_name AS template_display_name, t.icon AS template_icon, coalesce(d.name, '') AS worker_name,
    {RESOURCES_JSON} AS resources, {JOB_COLUMNS_PREFIXED}"""

BUILD_JOINS = """JOIN users o ON o.id = w.owner_id
    JOIN templates t ON t.id = w.template_id
    JOIN template_versions v ON v.id = b.template_version_id
    JOIN users i ON i.id = b.initiator_id
    JOIN provisioner_jobs j ON j.id = b.job_id
    LEFT JOIN provisioner_daemons d ON d.id = j.worker_id"""

_BUILD_FIELDS = tuple(
    (
        field,
        {"id": "build_id", "created_at": "build_created_at", "updated_at": "build_updated_at"}.get(field, field),
    )
    for field in BuildRow.__struct_fields__
    if field not in ("job", "resources")
)
_decode_resources = msgspec.json.Decoder(list[ResourceRow]).decode


def build_from(record: Mapping[str, Any], keyring: Keyring) -> BuildRow:
    """The build of a record that was selected with `BUILD_COLUMNS`."""
    values = {field: record[column] for field, column in _BUILD_FIELDS}
    resources = [
        msgspec.structs.replace(resource, agents=[open_agent(agent, keyring) for agent in resource.agents])
        if resource.agents
        else resource
        for resource in _decode_resources(record["resources"])
    ]
    return BuildRow(job=job_from(record), resources=resources, **values)


async def get_build(connection: Executor, build_id: UUID) -> BuildRow | None:
    """One build, of a deleted workspace too."""
    record = await connection.fetchrow(
        f"""-- builds.get_build
        SELECT {BUILD_COLUMNS} FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id {BUILD_JOINS}
        WHERE b.id = $1
        """,  # noqa: S608
        build_id,
    )
    return build_from(record, keyring_of(connection)) if record else None


async def get_build_by_number(connection: Executor, workspace_id: UUID, number: int) -> BuildRow | None:
    """A workspace's build by its number."""
    record = await connection.fetchrow(
        f"""-- builds.get_build_by_number
        SELECT {BUILD_COLUMNS} FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id {BUILD_JOINS}
        WHERE b.workspace_id = $1 AND b.build_number = $2
        """,  # noqa: S608
        workspace_id,
        number,
    )
    return build_from(record, keyring_of(connection)) if record else None


async def list_builds(
    connection: Executor,
    workspace_id: UUID,
    *,
    limit: int,
    offset: int = 0,
    after_id: UUID | None = None,
    since: datetime | None = None,
) -> list[BuildRow]:
    """A workspace's builds, newest first; `after_id` continues behind that build."""
    records = await connection.fetch(
        f"""-- builds.list_builds
        SELECT {BUILD_COLUMNS} FROM workspace_builds b JOIN workspaces w ON w.id = b.workspace_id {BUILD_JOINS}
        WHERE b.workspace_id = $1 AND ($4::uuid IS NULL
            OR b.build_number < (SELECT build_number FROM workspace_builds WHERE id = $4 AND workspace_id = $1))
          AND ($5::timestamptz IS NULL OR b.created_at > $5)
        ORDER BY b.build_number DESC LIMIT $2 OFFSET $3
        """,  # noqa: S608
        workspace_id,
        limit,
        offset,
        after_id,
        since,
    )
    keyring = keyring_of(connection)
    return [build_from(record, keyring) for record in records]


class VersionRow(msgspec.Struct, frozen=True):
    """What a build needs to know of a template version."""

    id: UUID
    name: str
    template_id: UUID | None
    organization_id: UUID
    archived: bool
    file_id: UUID
    tags: dict[str, str]
    workspace_tags: dict[str, str]
    job_status: JobStatus
    parameters: list[ParameterDefinition]
    dynamic_parameters: bool
    presets: list[dict[str, Any]]
    active_version_id: UUID | None
    template_is_deleted: bool
    deprecation_message: str
    require_active_version: bool
    default_ttl_ms: int


async def get_version(connection: Executor, version_id: UUID) -> VersionRow | None:
    """A template version with its template's rules."""
    row = await connection.fetchrow(
        """-- builds.get_version
        SELECT v.id, v.name, v.template_id, v.organization_id, v.archived, j.file_id, j.tags,
               v.workspace_tags, j.status AS job_status, v.parameters, v.dynamic_parameters, v.presets,
               t.active_version_id,
               t.deleted_at IS NOT NULL AS template_is_deleted,
               coalesce(t.deprecation_message, '') AS deprecation_message,
               coalesce(t.require_active_version, false) AS require_active_version,
               coalesce(t.default_ttl_ms, 0) AS default_ttl_ms
        FROM template_versions v JOIN provisioner_jobs j ON j.id = v.job_id
        LEFT JOIN templates t ON t.id = v.template_id
        WHERE v.id = $1
        """,
        version_id,
    )
    return msgspec.convert(dict(row), VersionRow) if row else None


class LatestRow(msgspec.Struct, frozen=True):
    """A workspace's latest build as far as the next one depends on it."""

    id: UUID
    build_number: int
    transition: Transition
    version_id: UUID
    job_id: UUID
    job_status: JobStatus


async def get_latest(connection: Executor, workspace_id: UUID) -> LatestRow | None:
    """The latest build of a workspace, by number."""
    row = await connection.fetchrow(
        """-- builds.get_latest
        SELECT b.id, b.build_number, b.transition, b.template_version_id AS version_id, b.job_id,
               j.status AS job_status
        FROM workspace_builds b JOIN provisioner_jobs j ON j.id = b.job_id
        WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT 1
        """,
        workspace_id,
    )
    return LatestRow(**row) if row else None


async def list_parameters(connection: Executor, build_id: UUID) -> dict[str, str]:
    """A build's parameter values."""
    rows = await connection.fetch(
        """-- builds.list_parameters
        SELECT name, value FROM workspace_build_parameters WHERE build_id = $1 ORDER BY name
        """,
        build_id,
    )
    return {row["name"]: row["value"] for row in rows}


class StateRow(msgspec.Struct, frozen=True):
    """The newest state of a workspace; `lineage` empty: none was ever saved."""

    state: bytes
    serial: int
    lineage: str


async def get_newest_state(connection: Executor, workspace_id: UUID, up_to: int) -> StateRow:
    """The state of the last build up to number `up_to` that has one."""
    row = await connection.fetchrow(
        """-- builds.get_newest_state
        SELECT id, state, state_serial AS serial, state_lineage AS lineage FROM workspace_builds
        WHERE workspace_id = $1 AND build_number <= $2 AND state <> '' ORDER BY build_number DESC LIMIT 1
        """,
        workspace_id,
        up_to,
    )
    if row is None:
        return StateRow(state=b"", serial=-1, lineage="")
    state = keyring_of(connection).open_bytes(STATE, row["id"], row["state"])
    return StateRow(state=state, serial=row["serial"], lineage=row["lineage"])


async def get_newest_state_head(connection: Executor, workspace_id: UUID, up_to: int) -> tuple[str, int]:
    """Lineage and serial of the newest state, without its bytes."""
    row = await connection.fetchrow(
        """-- builds.get_newest_state_head
        SELECT state_lineage, state_serial FROM workspace_builds
        WHERE workspace_id = $1 AND build_number <= $2 AND state <> '' ORDER BY build_number DESC LIMIT 1
        """,
        workspace_id,
        up_to,
    )
    return (row["state_lineage"], row["state_serial"]) if row else ("", -1)
