"""What agents report and how they are reached, beside `WorkspaceAgent` itself."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.wire.enums import LogLevel
from devyard.wire.streams import RelayAccess


class AgentMetadataDescription(msgspec.Struct):
    """A value that the template wants measured: `interval` and `timeout` in seconds."""

    display_name: str
    key: str
    script: str
    interval: int
    timeout: int


class AgentMetadataResult(msgspec.Struct):
    """The last measurement; `age` in seconds."""

    collected_at: datetime
    age: int
    value: str
    error: str


class AgentMetadata(msgspec.Struct):
    """A measured value with its description."""

    description: AgentMetadataDescription
    result: AgentMetadataResult


class AgentConnectionInfo(msgspec.Struct):
    """How to reach an agent: relays with tickets, and the agent's SSH host keys (OpenSSH's format)."""

    disable_direct_connections: bool
    hostname_suffix: str
    relays: list[RelayAccess]
    host_keys: list[str]


class PatchAgentLog(msgspec.Struct):
    """A line that a workspace reports."""

    created_at: datetime
    output: str
    level: LogLevel = "info"


class PatchAgentLogsRequest(msgspec.Struct):
    """Lines of one log source; the zero UUID is the agent's own."""

    logs: list[PatchAgentLog]
    log_source_id: UUID = UUID(int=0)


class PostLogSourceRequest(msgspec.Struct):
    """A log source of an agent, made or renamed."""

    id: UUID
    display_name: str = ""
    icon: str = ""


class AgentGitSSHKey(msgspec.Struct):
    """The owner's key pair, for git inside the workspace."""

    public_key: str
    private_key: str
