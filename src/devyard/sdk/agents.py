"""Agents over a `Client`: their state, and how to reach them."""

from uuid import UUID

from devyard.sdk.client import Client
from devyard.wire.agents import AgentConnectionInfo
from devyard.wire.workspaces import AgentLog, WorkspaceAgent


def get_agent(client: Client, agent_id: UUID) -> WorkspaceAgent:
    """An agent's present state. Raises NotFound."""
    return client.get(f"/workspaceagents/{agent_id}", WorkspaceAgent)


def get_connection(client: Client, agent_id: UUID) -> AgentConnectionInfo:
    """Relays with tickets that are good for minutes, and the agent's SSH host keys."""
    return client.get(f"/workspaceagents/{agent_id}/connection", AgentConnectionInfo)


def list_logs(client: Client, agent_id: UUID, after: int = 0) -> list[AgentLog]:
    """The agent's log lines after an id."""
    return client.get(f"/workspaceagents/{agent_id}/logs", list[AgentLog], after=after or None)
