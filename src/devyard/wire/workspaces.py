"""Workspaces, builds, resources and agents as the API shows them."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.wire.enums import (
    AgentLifecycle,
    AgentStatus,
    AppHealth,
    AutomaticUpdates,
    BuildReason,
    DisplayApp,
    LogLevel,
    OpenIn,
    SharingLevel,
    StartupBehavior,
    Transition,
    WorkspaceStatus,
)
from devyard.wire.jobs import MatchedProvisioners, ProvisionerJob
from devyard.wire.templates import ParameterValue


class Healthcheck(msgspec.Struct):
    """How an app is probed: `interval` in seconds; `threshold` failures make it unhealthy."""

    url: str = ""
    interval: int = 0
    threshold: int = 0


class WorkspaceApp(msgspec.Struct, omit_defaults=False):
    """Something a workspace offers in the browser or by a command."""

    id: UUID
    slug: str
    display_name: str
    external: bool
    subdomain: bool
    sharing_level: SharingLevel
    healthcheck: Healthcheck
    health: AppHealth
    hidden: bool
    open_in: OpenIn
    url: str = ""
    command: str | msgspec.UnsetType = msgspec.UNSET
    icon: str | msgspec.UnsetType = msgspec.UNSET
    subdomain_name: str | msgspec.UnsetType = msgspec.UNSET
    group: str = ""
    tooltip: str = ""
    order: int = 0
    statuses: list[object] = []


class AgentScript(msgspec.Struct):
    """A script of the template; `timeout` in seconds, 0 for none."""

    id: UUID
    log_source_id: UUID
    log_path: str
    script: str
    cron: str
    run_on_start: bool
    run_on_stop: bool
    start_blocks_login: bool
    timeout: int
    display_name: str


class AgentLogSource(msgspec.Struct):
    """Where log lines of an agent come from: its startup script, a script, the agent."""

    workspace_agent_id: UUID
    id: UUID
    created_at: datetime
    display_name: str
    icon: str


class AgentHealth(msgspec.Struct, omit_defaults=True):
    """Whether people can work there, and if not, why."""

    healthy: bool
    reason: str = ""


class AgentLatency(msgspec.Struct):
    """Round trip to one region in milliseconds."""

    preferred: bool
    latency_ms: float


class WorkspaceAgent(msgspec.Struct, omit_defaults=False):
    """The process in a workspace that people connect to."""

    id: UUID
    parent_id: UUID | None
    created_at: datetime
    updated_at: datetime
    status: AgentStatus
    lifecycle_state: AgentLifecycle
    name: str
    resource_id: UUID
    architecture: str
    environment_variables: dict[str, str]
    operating_system: str
    logs_length: int
    logs_overflowed: bool
    version: str
    api_version: str
    apps: list[WorkspaceApp]
    connection_timeout_seconds: int
    troubleshooting_url: str
    subsystems: list[str]
    health: AgentHealth
    display_apps: list[DisplayApp]
    log_sources: list[AgentLogSource]
    scripts: list[AgentScript]
    startup_script_behavior: StartupBehavior
    first_connected_at: datetime | msgspec.UnsetType = msgspec.UNSET
    last_connected_at: datetime | msgspec.UnsetType = msgspec.UNSET
    disconnected_at: datetime | msgspec.UnsetType = msgspec.UNSET
    started_at: datetime | msgspec.UnsetType = msgspec.UNSET
    ready_at: datetime | msgspec.UnsetType = msgspec.UNSET
    instance_id: str | msgspec.UnsetType = msgspec.UNSET
    directory: str | msgspec.UnsetType = msgspec.UNSET
    expanded_directory: str | msgspec.UnsetType = msgspec.UNSET
    latency: dict[str, AgentLatency] | msgspec.UnsetType = msgspec.UNSET


class ResourceMetadata(msgspec.Struct):
    """A key and value shown under a resource; a sensitive value is masked."""

    key: str
    value: str
    sensitive: bool


class WorkspaceResource(msgspec.Struct, omit_defaults=False):
    """What Terraform made."""

    id: UUID
    created_at: datetime
    job_id: UUID
    workspace_transition: Transition
    type: str
    name: str
    hide: bool
    icon: str
    daily_cost: int
    agents: list[WorkspaceAgent] = []
    metadata: list[ResourceMetadata] = []


class WorkspaceBuild(msgspec.Struct, omit_defaults=False):
    """One numbered run of Terraform for a workspace."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    workspace_id: UUID
    workspace_name: str
    workspace_owner_id: UUID
    workspace_owner_name: str
    workspace_owner_avatar_url: str
    template_version_id: UUID
    template_version_name: str
    build_number: int
    transition: Transition
    initiator_id: UUID
    initiator_name: str
    job: ProvisionerJob
    reason: BuildReason
    resources: list[WorkspaceResource] | msgspec.Raw
    status: WorkspaceStatus
    daily_cost: int
    template_version_preset_id: UUID | None
    deadline: datetime | msgspec.UnsetType = msgspec.UNSET
    max_deadline: datetime | msgspec.UnsetType = msgspec.UNSET
    matched_provisioners: MatchedProvisioners | msgspec.UnsetType = msgspec.UNSET
    possible_orphans: list[str] = []
    """What may exist although no state knows it, after a build that did not succeed."""


class WorkspaceHealth(msgspec.Struct):
    """Healthy unless an agent is known to be away."""

    healthy: bool
    failing_agents: list[UUID]


class Workspace(msgspec.Struct, omit_defaults=False):
    """A development environment of one user."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    owner_id: UUID
    owner_name: str
    owner_avatar_url: str
    organization_id: UUID
    organization_name: str
    template_id: UUID
    template_name: str
    template_display_name: str
    template_icon: str
    template_allow_user_cancel_workspace_jobs: bool
    template_active_version_id: UUID
    template_require_active_version: bool
    latest_build: WorkspaceBuild
    outdated: bool
    name: str
    last_used_at: datetime
    deleting_at: datetime | None
    dormant_at: datetime | None
    health: WorkspaceHealth
    automatic_updates: AutomaticUpdates
    allow_renames: bool
    favorite: bool
    next_start_at: datetime | None
    latest_app_status: None = None
    is_prebuild: bool = False
    template_use_classic_parameter_flow: bool = False
    autostart_schedule: str | msgspec.UnsetType = msgspec.UNSET
    ttl_ms: int | msgspec.UnsetType = msgspec.UNSET


class WorkspacesPage(msgspec.Struct):
    """A page of workspaces; `count` is over all pages."""

    workspaces: list[Workspace]
    count: int


class CreateWorkspaceRequest(msgspec.Struct):
    """A workspace from a template's active version or from a version; the zero UUID counts as absent."""

    name: str
    template_id: UUID | None = None
    template_version_id: UUID | None = None
    autostart_schedule: str | None = None
    ttl_ms: int | None = None
    rich_parameter_values: list[ParameterValue] = []
    automatic_updates: AutomaticUpdates | None = None
    template_version_preset_id: UUID | None = None


class CreateBuildRequest(msgspec.Struct):
    """The next build of a workspace; without a version the last one's is kept. `state`: base64."""

    transition: Transition
    template_version_id: UUID | None = None
    dry_run: bool = False
    state: str | None = None
    orphan: bool = False
    rich_parameter_values: list[ParameterValue] = []
    log_level: str = ""
    template_version_preset_id: UUID | None = None
    reason: BuildReason | None = None


class AgentLog(msgspec.Struct):
    """One line of an agent's log; ids grow with time."""

    id: int
    created_at: datetime
    output: str
    level: LogLevel
    source_id: UUID


class UsageRequest(msgspec.Struct):
    """That somebody uses a workspace now. Both fields may be missing (empty body)."""

    agent_id: UUID | None = None
    app_name: str = ""
