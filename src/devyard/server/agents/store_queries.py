"""The statements that store what agents report: each takes any number of agents' reports at once, by `unnest`.

Called by agents/store. Invariant: reports of agents, keys or scripts that do not exist (any more) change nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from devyard.server.db.pool import Executor
from devyard.server.db.wakeups import CHANNEL
from devyard.wire.agentlink import LOG_BYTES_PER_AGENT

Rows = Sequence[tuple[object, ...]]


def columns(rows: Rows, width: int) -> list[list[object]]:
    """Rows turned into the arrays that `unnest` takes."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


async def store_connected(executor: Executor, rows: Rows) -> None:
    """(agent, connection, at): who is connected since when, by which connection."""
    await executor.execute(
        """-- agents.store_connected
        UPDATE workspace_agents a SET connection_id = x.connection_id, last_connected_at = x.at,
               first_connected_at = coalesce(a.first_connected_at, x.at), disconnected_at = NULL, updated_at = x.at
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS x (agent_id, connection_id, at)
        WHERE a.id = x.agent_id
        """,
        *columns(rows, 3),
    )


async def store_hellos(executor: Executor, rows: Rows) -> None:
    """(agent, version, api version, directory, host keys as text, subsystems as text); lines end each key."""
    await executor.execute(
        """-- agents.store_hellos
        UPDATE workspace_agents a SET version = x.version, api_version = x.api_version,
               expanded_directory = x.directory, updated_at = now(),
               host_keys = string_to_array(nullif(x.host_keys, ''), E'\\n'),
               subsystems = coalesce(string_to_array(nullif(x.subsystems, ''), E'\\n'), '{}')
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
             AS x (agent_id, version, api_version, directory, host_keys, subsystems)
        WHERE a.id = x.agent_id
        """,
        *columns(rows, 6),
    )


async def store_disconnected(executor: Executor, rows: Rows) -> None:
    """(agent, connection, at): a connection ended; one that was replaced says nothing about its agent."""
    await executor.execute(
        """-- agents.store_disconnected
        UPDATE workspace_agents a SET disconnected_at = x.at, updated_at = x.at
        FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS x (agent_id, connection_id, at)
        WHERE a.id = x.agent_id AND a.connection_id = x.connection_id
        """,
        *columns(rows, 3),
    )


async def store_heartbeats(
    executor: Executor, agent_ids: Sequence[UUID], connection_ids: Sequence[UUID], now: datetime
) -> set[UUID]:
    """That these connections live; answers the agents for which that is still the connection that counts."""
    rows = await executor.fetch(
        """-- agents.store_heartbeats
        UPDATE workspace_agents a SET last_connected_at = $3
        FROM unnest($1::uuid[], $2::uuid[]) AS x (agent_id, connection_id)
        WHERE a.id = x.agent_id AND a.connection_id = x.connection_id
        RETURNING a.id
        """,
        list(agent_ids),
        list(connection_ids),
        now,
    )
    return {row["id"] for row in rows}


async def store_lifecycles(executor: Executor, rows: Rows) -> None:
    """(agent, state, started at or None, start ended at or None); a new start forgets how the last one ended."""
    await executor.execute(
        """-- agents.store_lifecycles
        UPDATE workspace_agents a SET lifecycle = x.state, updated_at = now(),
               started_at = coalesce(x.started_at, a.started_at),
               ready_at = CASE WHEN x.started_at IS NULL THEN coalesce(x.ready_at, a.ready_at) ELSE x.ready_at END
        FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])
             AS x (agent_id, state, started_at, ready_at)
        WHERE a.id = x.agent_id
        """,
        *columns(rows, 4),
    )


async def store_logs(executor: Executor, rows: Rows, *, limit: int = LOG_BYTES_PER_AGENT) -> None:
    """(agent, source, at, level, output) in order; what is over an agent's limit is dropped and marked."""
    await executor.execute(
        """-- agents.store_logs
        WITH input AS (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[])
                     WITH ORDINALITY AS x (agent_id, source_id, at, level, output, place)
        ), agents AS (
            SELECT id, logs_bytes FROM workspace_agents
            WHERE id IN (SELECT agent_id FROM input) AND NOT logs_overflowed
            ORDER BY id FOR NO KEY UPDATE
        ), sized AS (
            SELECT i.*, octet_length(i.output) AS bytes,
                   a.logs_bytes + sum(octet_length(i.output))
                       OVER (PARTITION BY i.agent_id ORDER BY i.place) AS total
            FROM input i JOIN agents a ON a.id = i.agent_id
        ), stored AS (
            INSERT INTO workspace_agent_logs (agent_id, source_id, created_at, level, output)
            SELECT agent_id, source_id, at, level, output FROM sized WHERE total <= $6 ORDER BY place
        )
        UPDATE workspace_agents a
        SET logs_bytes = a.logs_bytes + s.bytes, logs_overflowed = s.is_over, updated_at = now()
        FROM (SELECT agent_id, coalesce(sum(bytes) FILTER (WHERE total <= $6), 0) AS bytes,
                     bool_or(total > $6) AS is_over
              FROM sized GROUP BY agent_id) s
        WHERE a.id = s.agent_id
        """,
        *columns(rows, 5),
        limit,
    )


async def store_metadata(executor: Executor, rows: Rows) -> None:
    """(agent, key, value, error, at): the newest of each key."""
    await executor.execute(
        """-- agents.store_metadata
        UPDATE workspace_agent_metadata m SET value = x.value, error = x.error, collected_at = x.at
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
             AS x (agent_id, key, value, error, at)
        WHERE m.agent_id = x.agent_id AND m.key = x.key
        """,
        *columns(rows, 5),
    )


async def store_app_healths(executor: Executor, rows: Rows) -> None:
    """(agent, slug or id, health); the agents count as changed."""
    await executor.execute(
        """-- agents.store_app_healths
        WITH input AS (
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS x (agent_id, app, health)
        ), changed AS (
            UPDATE workspace_apps p SET health = x.health
            FROM input x WHERE p.agent_id = x.agent_id AND x.app IN (p.slug, p.id::text)
            RETURNING p.agent_id
        )
        UPDATE workspace_agents SET updated_at = now() WHERE id IN (SELECT agent_id FROM changed)
        """,
        *columns(rows, 3),
    )


async def store_script_runs(executor: Executor, rows: Rows) -> None:
    """(agent, script, stage, status, exit code, started at, ended at); other agents' scripts are left alone."""
    await executor.execute(
        """-- agents.store_script_runs
        INSERT INTO workspace_agent_script_runs (script_id, stage, status, exit_code, started_at, ended_at)
        SELECT x.script_id, x.stage, x.status, x.exit_code, x.started_at, x.ended_at
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::timestamptz[],
                    $7::timestamptz[])
             AS x (agent_id, script_id, stage, status, exit_code, started_at, ended_at)
        JOIN workspace_agent_scripts s ON s.id = x.script_id AND s.agent_id = x.agent_id
        """,
        *columns(rows, 7),
    )


async def store_stats(executor: Executor, rows: Rows) -> None:
    """(agent, at, rx, tx, ssh, vscode, jetbrains, terminal, connections, latency) with whose workspace it is."""
    await executor.execute(
        """-- agents.store_stats
        INSERT INTO workspace_agent_stats (agent_id, workspace_id, user_id, template_id, created_at, rx_bytes,
               tx_bytes, ssh_sessions, vscode_sessions, jetbrains_sessions, terminal_sessions, connection_count,
               latency_ms)
        SELECT x.agent_id, w.id, w.owner_id, w.template_id, x.at, x.rx, x.tx, x.ssh, x.vscode, x.jetbrains,
               x.terminal, x.connections, x.latency
        FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::int[],
                    $8::int[], $9::int[], $10::float8[])
             AS x (agent_id, at, rx, tx, ssh, vscode, jetbrains, terminal, connections, latency)
        JOIN workspace_agents a ON a.id = x.agent_id JOIN workspaces w ON w.id = a.workspace_id
        """,
        *columns(rows, 10),
    )


async def store_uses(executor: Executor, workspace_ids: Collection[UUID], now: datetime) -> None:
    """That people work in these workspaces: last use and, where there is one, the deadline move on."""
    await executor.execute(
        """-- agents.store_uses
        WITH used AS (
            UPDATE workspaces SET last_used_at = $2
            WHERE id = ANY($1) AND last_used_at < $2::timestamptz - interval '1 minute'
        )
        UPDATE workspace_builds b
        SET deadline = least(greatest(b.deadline, $2::timestamptz + t.activity_bump_ms * interval '1 millisecond'),
                             coalesce(b.max_deadline, 'infinity')), updated_at = $2
        FROM workspaces w JOIN templates t ON t.id = w.template_id
        WHERE w.id = ANY($1) AND b.id = w.latest_build_id AND b.transition = 'start' AND NOT b.is_active
          AND b.deadline < $2::timestamptz + t.activity_bump_ms * interval '1 millisecond' - interval '1 minute'
        """,
        list(workspace_ids),
        now,
    )


async def wake_all(executor: Executor, topics: Collection[str]) -> None:
    """Wake the waiters of many topics by one statement."""
    await executor.execute(
        """-- agents.wake_all
        SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topics (topic)
        """,
        CHANNEL,
        list(topics),
    )
