"""Where the time of a build went, as the API shows it."""

from datetime import datetime
from uuid import UUID

import msgspec


class ProvisionerTiming(msgspec.Struct):
    """A span of Terraform's work in a build."""

    job_id: UUID
    started_at: datetime
    ended_at: datetime
    stage: str
    source: str
    action: str
    resource: str


class AgentScriptTiming(msgspec.Struct):
    """A finished run of a script."""

    started_at: datetime
    ended_at: datetime
    exit_code: int
    stage: str
    status: str
    display_name: str
    workspace_agent_id: UUID
    workspace_agent_name: str


class AgentConnectionTiming(msgspec.Struct):
    """From the end of the build to the agent's first connection."""

    started_at: datetime
    ended_at: datetime
    stage: str
    workspace_agent_id: UUID
    workspace_agent_name: str


class BuildTimings(msgspec.Struct):
    """Where a build's time went."""

    provisioner_timings: list[ProvisionerTiming]
    agent_script_timings: list[AgentScriptTiming]
    agent_connection_timings: list[AgentConnectionTiming]
