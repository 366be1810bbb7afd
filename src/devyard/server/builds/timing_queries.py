"""SQL that reads where a build's time went. Called by the routes of builds and workspaces."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.wire.provisionerresults import Timing


async def get_timings(connection: Executor, build_id: UUID) -> list[Timing]:
    """Spans that the provisioner measured."""
    timings = await connection.fetchval(
        """-- builds.get_timings
        SELECT j.timings FROM provisioner_jobs j JOIN workspace_builds b ON b.job_id = j.id WHERE b.id = $1
        """,
        build_id,
    )
    return msgspec.convert(timings or [], list[Timing])


class AgentTimingRow(msgspec.Struct, frozen=True):
    """An agent's way from the build's end to its connection."""

    agent_id: UUID
    agent_name: str
    created_at: datetime
    first_connected_at: datetime


async def list_agent_timings(connection: Executor, build_id: UUID) -> list[AgentTimingRow]:
    """Agents of a build that have connected."""
    rows = await connection.fetch(
        """-- builds.list_agent_timings
        SELECT id AS agent_id, name AS agent_name, created_at, first_connected_at FROM workspace_agents
        WHERE build_id = $1 AND first_connected_at IS NOT NULL ORDER BY name
        """,
        build_id,
    )
    return [AgentTimingRow(**row) for row in rows]


class ScriptTimingRow(msgspec.Struct, frozen=True):
    """A finished run of an agent's script."""

    agent_id: UUID
    agent_name: str
    display_name: str
    stage: str
    status: str
    exit_code: int
    started_at: datetime
    ended_at: datetime


async def list_script_timings(connection: Executor, build_id: UUID) -> list[ScriptTimingRow]:
    """The last 500 script runs of a build's agents, oldest first."""
    rows = await connection.fetch(
        """-- builds.list_script_timings
        SELECT * FROM (
            SELECT a.id AS agent_id, a.name AS agent_name, s.display_name, r.stage, r.status, r.exit_code,
                   r.started_at, r.ended_at
            FROM workspace_agents a JOIN workspace_agent_scripts s ON s.agent_id = a.id
            JOIN workspace_agent_script_runs r ON r.script_id = s.id
            WHERE a.build_id = $1 ORDER BY r.id DESC LIMIT 500
        ) runs ORDER BY started_at
        """,
        build_id,
    )
    return [ScriptTimingRow(**row) for row in rows]
