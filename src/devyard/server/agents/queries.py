"""SQL about agents that is not written by the link's buffer: reading one, who holds a token, what a manifest says.

Called by the agent actions, the link and, for `AGENT_JSON`, by the queries of builds and workspaces.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.agents.rules import AWAY_AFTER_S, AgentTimes, TokenHolder
from devyard.server.db.pool import Executor, keyring_of
from devyard.server.encryption.keyring import Keyring
from devyard.server.encryption.places import AGENT_ENVIRONMENT, GIT_KEY, SCRIPT
from devyard.wire import agentlink
from devyard.wire.enums import AgentLifecycle, AppHealth, JobStatus, Transition
from devyard.wire.workspaces import AgentLog


class AppRow(msgspec.Struct, frozen=True):
    """A row of workspace_apps."""

    id: UUID
    slug: str
    display_name: str
    url: str
    command: str
    icon: str
    subdomain: bool
    sharing_level: str
    external: bool
    health_url: str
    health_interval_s: int
    health_threshold: int
    health: AppHealth
    hidden: bool
    open_in: str
    position: int
    group_name: str
    tooltip: str


class ScriptRow(msgspec.Struct, frozen=True):
    """A row of workspace_agent_scripts."""

    id: UUID
    log_source_id: UUID
    display_name: str
    script: str
    log_path: str
    cron: str
    run_on_start: bool
    run_on_stop: bool
    start_blocks_login: bool
    timeout_s: int


class LogSourceRow(msgspec.Struct, frozen=True):
    """A row of workspace_agent_log_sources."""

    id: UUID
    display_name: str
    icon: str
    created_at: datetime


class AgentRow(msgspec.Struct, frozen=True):
    """A row of workspace_agents with its apps, scripts and log sources."""

    id: UUID
    resource_id: UUID
    name: str
    os: str
    arch: str
    instance_id: str
    directory: str
    environment: dict[str, str] | str
    """A text only where it is still sealed."""
    connection_timeout_s: int
    troubleshooting_url: str
    startup_behavior: str
    display_apps: list[str]
    lifecycle: AgentLifecycle
    version: str
    api_version: str
    expanded_directory: str
    subsystems: list[str]
    logs_bytes: int
    logs_overflowed: bool
    first_connected_at: datetime | None
    last_connected_at: datetime | None
    disconnected_at: datetime | None
    started_at: datetime | None
    ready_at: datetime | None
    created_at: datetime
    updated_at: datetime
    apps: list[AppRow] = []
    scripts: list[ScriptRow] = []
    log_sources: list[LogSourceRow] = []

    @property
    def variables(self) -> dict[str, str]:
        """The environment, opened."""
        assert not isinstance(self.environment, str)
        return self.environment

    @property
    def times(self) -> AgentTimes:
        """What the status follows from."""
        return AgentTimes(
            created_at=self.created_at,
            connection_timeout_s=self.connection_timeout_s,
            first_connected_at=self.first_connected_at,
            last_connected_at=self.last_connected_at,
            disconnected_at=self.disconnected_at,
        )


_AGENT_COLUMNS = """a.id, a.resource_id, a.name, a.os, a.arch, a.instance_id, a.directory, a.environment,
    a.connection_timeout_s, a.troubleshooting_url, a.startup_behavior, a.display_apps, a.lifecycle, a.version,
    a.api_version, a.expanded_directory, a.subsystems, a.logs_bytes, a.logs_overflowed, a.first_connected_at,
    a.last_connected_at, a.disconnected_at, a.started_at, a.ready_at, a.created_at, a.updated_at"""

AGENT_JSON = f"""(SELECT row_to_json(x) FROM (SELECT {_AGENT_COLUMNS},
    (SELECT coalesce(json_agg(row_to_json(p) ORDER BY p.position, p.slug), '[]') FROM workspace_apps p
      WHERE p.agent_id = a.id) AS apps,
    (SELECT coalesce(json_agg(row_to_json(s) ORDER BY s.position, s.id), '[]') FROM workspace_agent_scripts s
      WHERE s.agent_id = a.id) AS scripts,
    (SELECT coalesce(json_agg(row_to_json(l) ORDER BY l.created_at, l.display_name), '[]')
       FROM workspace_agent_log_sources l WHERE l.agent_id = a.id) AS log_sources) x)"""  # noqa: S608
"""The agent `a` of the surrounding statement as JSON that decodes to `AgentRow`."""

STATUS_SQL = f"""CASE
    WHEN a.first_connected_at IS NULL OR a.last_connected_at IS NULL THEN
        CASE WHEN a.connection_timeout_s > 0
                  AND now() > a.created_at + a.connection_timeout_s * interval '1 second'
             THEN 'timeout' ELSE 'connecting' END
    WHEN a.disconnected_at >= a.last_connected_at THEN 'disconnected'
    WHEN now() > a.last_connected_at + interval '{AWAY_AFTER_S} seconds' THEN 'disconnected'
    ELSE 'connected' END"""
"""`rules.decide_status` for the agent `a`."""


class AgentPlace(msgspec.Struct, frozen=True):
    """An agent with whose workspace it is in."""

    agent: AgentRow
    workspace_id: UUID
    workspace_name: str
    owner_id: UUID
    owner_name: str
    organization_id: UUID
    host_keys: list[str]


_decode_agent = msgspec.json.Decoder(AgentRow).decode


async def get_agent(connection: Executor, agent_id: UUID) -> AgentPlace | None:
    """An agent of a workspace that is not deleted."""
    row = await connection.fetchrow(
        f"""-- agents.get_agent
        SELECT {AGENT_JSON}::text AS agent, w.id AS workspace_id, w.name AS workspace_name, w.owner_id,
               u.username AS owner_name, w.organization_id, a.host_keys
        FROM workspace_agents a JOIN workspaces w ON w.id = a.workspace_id JOIN users u ON u.id = w.owner_id
        WHERE a.id = $1 AND w.deleted_at IS NULL
        """,  # noqa: S608
        agent_id,
    )
    if row is None:
        return None
    fields = dict(row)
    agent = open_agent(_decode_agent(fields.pop("agent")), keyring_of(connection))
    return AgentPlace(agent=agent, **fields)


def open_agent(row: AgentRow, keyring: Keyring) -> AgentRow:
    """The agent that `AGENT_JSON` selected, with what is sealed of it opened."""
    return msgspec.structs.replace(
        row,
        environment=keyring.open_json(AGENT_ENVIRONMENT, row.id, row.environment),
        scripts=_open_scripts(row.scripts, keyring),
    )


def _open_scripts(scripts: Sequence[ScriptRow], keyring: Keyring) -> list[ScriptRow]:
    return [
        msgspec.structs.replace(script, script=keyring.open_text(SCRIPT, script.id, script.script))
        for script in scripts
    ]


async def list_token_holders(
    connection: Executor, hashes: Sequence[bytes]
) -> tuple[dict[bytes, TokenHolder], bool]:
    """For each SHA-256 of a token the agent that has it (of the newest build), and whether any build is active."""
    rows = await connection.fetch(
        """-- agents.list_token_holders
        SELECT DISTINCT ON (a.token_hash) a.token_hash, a.id AS agent_id, a.build_id, a.workspace_id,
               w.deleted_at IS NOT NULL AS is_deleted, l.id AS latest_build_id,
               l.transition AS latest_transition, j.status AS latest_job_status
        FROM workspace_agents a
        JOIN workspace_builds b ON b.id = a.build_id
        JOIN workspaces w ON w.id = a.workspace_id
        JOIN workspace_builds l ON l.id = w.latest_build_id
        JOIN provisioner_jobs j ON j.id = l.job_id
        WHERE a.token_hash = ANY($1)
        ORDER BY a.token_hash, b.build_number DESC
        """,
        list(hashes),
    )
    found = {
        bytes(row["token_hash"]): TokenHolder(
            agent_id=row["agent_id"],
            build_id=row["build_id"],
            workspace_id=row["workspace_id"],
            is_deleted=row["is_deleted"],
            latest_build_id=row["latest_build_id"],
            latest_transition=row["latest_transition"],
            latest_job_status=row["latest_job_status"],
        )
        for row in rows
    }
    if all(token_hash in found for token_hash in hashes):
        return found, False
    return found, await is_any_build_active(connection)


async def is_any_build_active(connection: Executor) -> bool:
    """Whether a build that may make agents known is under way anywhere."""
    found: bool = await connection.fetchval(
        """-- agents.is_any_build_active
        SELECT EXISTS (SELECT FROM workspace_builds WHERE is_active AND transition = 'start')
        """
    )
    return found


class ManifestRow(msgspec.Struct, frozen=True):
    """What a manifest and a connection are made of."""

    agent_id: UUID
    agent_name: str
    build_id: UUID
    workspace_id: UUID
    workspace_name: str
    template_id: UUID
    owner_id: UUID
    owner_name: str
    owner_full_name: str
    owner_email: str
    git_private_key: str
    directory: str
    environment: dict[str, str] | str
    motd_file: str
    startup_behavior: str
    lifecycle: AgentLifecycle
    token_hash: str
    scripts: list[ScriptRow]
    metadata: list[agentlink.MetadataItem]
    apps: list[agentlink.App]

    @property
    def variables(self) -> dict[str, str]:
        """The environment, opened."""
        assert not isinstance(self.environment, str)
        return self.environment


_decode_manifest = msgspec.json.Decoder(ManifestRow).decode


async def get_manifest(connection: Executor, agent_id: UUID) -> ManifestRow | None:
    """All that an agent is told, in one statement."""
    text = await connection.fetchval(
        """-- agents.get_manifest
        SELECT row_to_json(x)::text FROM (
        SELECT a.id AS agent_id, a.name AS agent_name, a.build_id, w.id AS workspace_id, w.name AS workspace_name,
               w.template_id, u.id AS owner_id, u.username AS owner_name, u.name AS owner_full_name,
               u.email AS owner_email, u.git_private_key, a.directory, a.environment, a.motd_file,
               a.startup_behavior, a.lifecycle, encode(a.token_hash, 'hex') AS token_hash,
               (SELECT coalesce(json_agg(row_to_json(s) ORDER BY s.position, s.id), '[]')
                  FROM workspace_agent_scripts s WHERE s.agent_id = a.id) AS scripts,
               (SELECT coalesce(json_agg(json_build_object('key', m.key, 'display_name', m.display_name,
                    'script', m.script, 'interval_s', m.interval_s, 'timeout_s', m.timeout_s)
                    ORDER BY m.position, m.key), '[]')
                  FROM workspace_agent_metadata m WHERE m.agent_id = a.id) AS metadata,
               (SELECT coalesce(json_agg(json_build_object('id', p.id, 'slug', p.slug, 'url', p.url,
                    'health_url', p.health_url, 'health_interval_s', p.health_interval_s,
                    'health_threshold', p.health_threshold) ORDER BY p.position, p.slug), '[]')
                  FROM workspace_apps p WHERE p.agent_id = a.id) AS apps
        FROM workspace_agents a JOIN workspaces w ON w.id = a.workspace_id JOIN users u ON u.id = w.owner_id
        WHERE a.id = $1) x
        """,
        agent_id,
    )
    if text is None:
        return None
    row, keyring = _decode_manifest(text), keyring_of(connection)
    return msgspec.structs.replace(
        row,
        environment=keyring.open_json(AGENT_ENVIRONMENT, row.agent_id, row.environment),
        git_private_key=keyring.open_text(GIT_KEY, row.owner_id, row.git_private_key),
        scripts=_open_scripts(row.scripts, keyring),
    )


class LatestBuildRow(msgspec.Struct, frozen=True):
    """The latest build of the workspace of an agent that belongs to an older one."""

    agent_id: UUID
    build_id: UUID
    latest_build_id: UUID
    transition: Transition
    job_status: JobStatus
    is_token_in_latest: bool


async def list_latest_builds(connection: Executor, agent_ids: Sequence[UUID]) -> list[LatestBuildRow]:
    """For each agent the state of its workspace's latest build, and whether that build has the agent's token."""
    rows = await connection.fetch(
        """-- agents.list_latest_builds
        SELECT a.id AS agent_id, a.build_id, l.id AS latest_build_id, l.transition, j.status AS job_status,
               EXISTS (SELECT FROM workspace_agents n WHERE n.build_id = l.id AND n.token_hash = a.token_hash)
                   AS is_token_in_latest
        FROM workspace_agents a
        JOIN workspaces w ON w.id = a.workspace_id
        JOIN workspace_builds l ON l.id = w.latest_build_id
        JOIN provisioner_jobs j ON j.id = l.job_id
        WHERE a.id = ANY($1) AND l.id <> a.build_id
        """,
        list(agent_ids),
    )
    return [LatestBuildRow(**row) for row in rows]


async def list_logs(
    connection: Executor, agent_id: UUID, *, after: int = 0, before: int | None = None, limit: int = 1000
) -> list[AgentLog]:
    """Lines of an agent in order, between two log ids (both exclusive)."""
    rows = await connection.fetch(
        """-- agents.list_logs
        SELECT id, created_at, output, level, source_id FROM workspace_agent_logs
        WHERE agent_id = $1 AND id > $2 AND ($3::bigint IS NULL OR id < $3) ORDER BY id LIMIT $4
        """,
        agent_id,
        after,
        before,
        limit,
    )
    return [AgentLog(**row) for row in rows]


class MetadataRow(msgspec.Struct, frozen=True):
    """A row of workspace_agent_metadata."""

    key: str
    display_name: str
    script: str
    interval_s: int
    timeout_s: int
    value: str
    error: str
    collected_at: datetime


async def list_metadata(connection: Executor, agent_id: UUID) -> list[MetadataRow]:
    """An agent's measured values in the template's order."""
    rows = await connection.fetch(
        """-- agents.list_metadata
        SELECT key, display_name, script, interval_s, timeout_s, value, error, collected_at
        FROM workspace_agent_metadata WHERE agent_id = $1 ORDER BY position, key
        """,
        agent_id,
    )
    return [MetadataRow(**row) for row in rows]


async def upsert_log_source(
    connection: Executor, agent_id: UUID, source_id: UUID, display_name: str, icon: str, *, limit: int
) -> LogSourceRow | None:
    """A log source of an agent, made or renamed; None where the agent has `limit` of them already."""
    row = await connection.fetchrow(
        """-- agents.upsert_log_source
        WITH source AS (
            INSERT INTO workspace_agent_log_sources (id, agent_id, display_name, icon)
            SELECT $2, $1, $3, $4
            WHERE EXISTS (SELECT FROM workspace_agent_log_sources WHERE agent_id = $1 AND id = $2)
               OR (SELECT count(*) FROM workspace_agent_log_sources WHERE agent_id = $1) < $5
            ON CONFLICT (agent_id, id) DO UPDATE SET display_name = $3, icon = $4
            RETURNING id, display_name, icon, created_at
        ), touched AS (UPDATE workspace_agents SET updated_at = now() WHERE id = $1)
        SELECT * FROM source
        """,
        agent_id,
        source_id,
        display_name,
        icon,
        limit,
    )
    return None if row is None else LogSourceRow(**row)


async def get_git_key(connection: Executor, workspace_id: UUID) -> tuple[str, str] | None:
    """Public and private key of a workspace's owner, or None where there is none."""
    row = await connection.fetchrow(
        """-- agents.get_git_key
        SELECT u.id, u.git_public_key, u.git_private_key FROM users u JOIN workspaces w ON w.owner_id = u.id
        WHERE w.id = $1 AND u.git_private_key <> ''
        """,
        workspace_id,
    )
    if row is None:
        return None
    private_key = keyring_of(connection).open_text(GIT_KEY, row["id"], row["git_private_key"])
    return row["git_public_key"], private_key
