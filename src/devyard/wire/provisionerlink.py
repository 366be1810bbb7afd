"""The provisioner's one WebSocket: msgpack messages, each a tagged struct.

A provisioner dials `SERVE_PATH` with its key, says `Register`, then `Ready` whenever it is free. The server
claims a job for it and sends `Job`; from then on every message about that job carries its `job_id` and
`lease_id`, and the server drops what comes under a lease that is no longer the job's. The provisioner sends
`Renew` at least every `LEASE_S / 3` seconds, logs as they come, state while Terraform applies, and ends with
exactly one `ImportDone`, `BuildDone` or `Failed`. Results and state are acknowledged (`Stored`) once they are
in the database, and sent again after a reconnect (`Register.resume`) until they are.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.enums import JobErrorCode, LogLevel, LogSource, Transition
from devyard.wire.parameters import ParameterDefinition

SERVE_PATH = "/api/v2/organizations/{organization}/provisionerdaemons/serve"
KEY_HEADER = "Devyard-Provisioner-Daemon-Key"
LEASE_S = 15
CHUNK_BYTES = 512 * 1024
MAX_MESSAGE_BYTES = 32 << 20
API_VERSION = "1.0"


class Variable(msgspec.Struct, frozen=True):
    """A Terraform variable's value, as text in Terraform's own syntax for -var (strings unquoted)."""

    name: str
    value: str


class Archive(msgspec.Struct, frozen=True):
    """The template's tar; fetched over this socket once and kept by its SHA-256."""

    file_id: UUID
    sha256: str
    size_bytes: int


class WorkspaceContext(msgspec.Struct, frozen=True):
    """What data sources answer with. Secrets in here never reach Terraform's environment."""

    access_url: str
    workspace_id: str = ""
    workspace_name: str = "default"
    build_id: str = ""
    template_id: str = ""
    template_name: str = ""
    template_version: str = ""
    owner_id: str = ""
    owner_name: str = "default"
    owner_full_name: str = ""
    owner_email: str = ""
    owner_login_type: str = ""
    owner_groups: tuple[str, ...] = ()
    owner_roles: tuple[tuple[str, str], ...] = ()
    owner_session_token: str = ""
    owner_oidc_access_token: str = ""
    owner_ssh_public_key: str = ""
    owner_ssh_private_key: str = ""


# Server → provisioner


class ImportJob(msgspec.Struct, frozen=True, tag="import"):
    """Learn what a template version asks for and makes."""

    context: WorkspaceContext
    variables: tuple[Variable, ...] = ()


class BuildJob(msgspec.Struct, frozen=True, tag="build"):
    """Bring a workspace into `transition`. `state` is Terraform's state (v4 JSON), empty before the first."""

    context: WorkspaceContext
    transition: Transition
    state: bytes
    parameters: Mapping[str, str]
    previous_parameters: Mapping[str, str]
    agent_resources: Mapping[str, str]
    variables: tuple[Variable, ...] = ()
    debug: bool = False


class DryRunJob(msgspec.Struct, frozen=True, tag="dry_run"):
    """Plan a start with these values and apply nothing."""

    context: WorkspaceContext
    parameters: Mapping[str, str]
    agent_resources: Mapping[str, str]
    variables: tuple[Variable, ...] = ()


class Job(msgspec.Struct, frozen=True, tag="job"):
    """A claimed job; `template_version_id` keys what a provisioner prepares once per version."""

    job_id: UUID
    lease_id: UUID
    template_version_id: UUID
    archive: Archive
    work: ImportJob | BuildJob | DryRunJob


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop: `force` false interrupts Terraform and lets it save, true kills it."""

    job_id: UUID
    force: bool


class FileChunk(msgspec.Struct, frozen=True, tag="file_chunk"):
    """A part of a requested archive; `last` ends it."""

    file_id: UUID
    offset: int
    data: bytes
    last: bool


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The message `seq` about a job is in the database, or was refused for good (`error`: the lease is gone)."""

    job_id: UUID
    seq: int
    error: str = ""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """The server goes away: finish or reconnect elsewhere; no new job on this socket."""


ToProvisioner = Job | Cancel | FileChunk | Stored | Drain

# Provisioner → server


class Register(msgspec.Struct, frozen=True, tag="register"):
    """First message. `daemon_id` is the provisioner's own, stable for the life of its process.

    `resume` names a job (and lease) that it still runs after the connection was lost.
    """

    daemon_id: UUID
    name: str
    version: str
    api_version: str
    tags: Mapping[str, str]
    terraform_version: str
    resume: tuple[UUID, UUID] | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Free for a job."""


class FileRequest(msgspec.Struct, frozen=True, tag="file_request"):
    """Send an archive in chunks of at most CHUNK_BYTES."""

    file_id: UUID


class JobLogLine(msgspec.Struct, frozen=True):
    """One line of a job's log."""

    created_at: datetime
    source: LogSource
    level: LogLevel
    stage: str
    output: str


class Logs(msgspec.Struct, frozen=True, tag="logs"):
    """Log lines in order; at most 200 a message."""

    job_id: UUID
    lease_id: UUID
    lines: tuple[JobLogLine, ...]


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """The job is alive."""

    job_id: UUID
    lease_id: UUID


class StateSaved(msgspec.Struct, frozen=True, tag="state"):
    """Terraform's state as it stands while applying; parses, newer `serial`, same `lineage`."""

    job_id: UUID
    lease_id: UUID
    seq: int
    state: bytes


class Timing(msgspec.Struct, frozen=True):
    """A span of the build. Stage: queue, claim, prepare, init, plan, graph, apply, state."""

    stage: str
    source: str
    action: str
    resource: str
    started_at: datetime
    ended_at: datetime


class AppResult(msgspec.Struct, frozen=True):
    """A `coder_app`."""

    slug: str
    display_name: str
    url: str
    command: str
    icon: str
    subdomain: bool
    share: str
    external: bool
    health_url: str
    health_interval_s: int
    health_threshold: int
    hidden: bool
    open_in: str
    order: int
    group: str
    tooltip: str


class ScriptResult(msgspec.Struct, frozen=True):
    """A `coder_script`, or the agent's own startup or shutdown script."""

    display_name: str
    icon: str
    script: str
    log_path: str
    cron: str
    run_on_start: bool
    run_on_stop: bool
    start_blocks_login: bool
    timeout_s: int


class MetadataResult(msgspec.Struct, frozen=True):
    """A metadata block of an agent."""

    key: str
    display_name: str
    script: str
    interval_s: int
    timeout_s: int
    order: int


class AgentResult(msgspec.Struct, frozen=True, kw_only=True):
    """A `coder_agent` with all that refers to it; `environment` is merged with its `coder_env`s."""

    name: str
    token: str
    os: str
    arch: str
    auth: str
    instance_id: str = ""
    directory: str = ""
    environment: Mapping[str, str] = {}
    motd_file: str = ""
    order: int = 0
    connection_timeout_s: int = 120
    troubleshooting_url: str = ""
    startup_behavior: str = "non-blocking"
    api_key_scope: str = "all"
    display_apps: tuple[str, ...] = ()
    apps: tuple[AppResult, ...] = ()
    scripts: tuple[ScriptResult, ...] = ()
    metadata: tuple[MetadataResult, ...] = ()
    monitors: bytes = b""
    """`resources_monitoring` as JSON, or empty."""


class ResourceMetadataResult(msgspec.Struct, frozen=True):
    """A `coder_metadata` item."""

    key: str
    value: str
    sensitive: bool


class ResourceResult(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that people see: everything but data sources and the provider's own auxiliary types."""

    address: str
    type: str
    name: str
    instance_type: str = ""
    hide: bool = False
    icon: str = ""
    daily_cost: int = 0
    metadata: tuple[ResourceMetadataResult, ...] = ()
    agents: tuple[AgentResult, ...] = ()


class TemplateVariableResult(msgspec.Struct, frozen=True):
    """A `variable` block of the template; a sensitive default is left empty."""

    name: str
    description: str
    type: str
    default_value: str
    required: bool
    sensitive: bool


class PresetResult(msgspec.Struct, frozen=True):
    """A `coder_workspace_preset`."""

    name: str
    parameters: Mapping[str, str]
    is_default: bool = False
    description: str = ""
    icon: str = ""


class ImportDone(msgspec.Struct, frozen=True, kw_only=True, tag="import_done"):
    """What the version asks for and makes; `agent_resources` maps agent labels to resource labels."""

    job_id: UUID
    lease_id: UUID
    seq: int
    parameters: tuple[ParameterDefinition, ...]
    variables: tuple[TemplateVariableResult, ...]
    presets: tuple[PresetResult, ...]
    start_resources: tuple[ResourceResult, ...]
    stop_resources: tuple[ResourceResult, ...]
    agent_resources: Mapping[str, str]
    external_auths: tuple[str, ...] = ()
    readme: str = ""
    warnings: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()


class BuildDone(msgspec.Struct, frozen=True, kw_only=True, tag="build_done"):
    """The build succeeded: final state and what is there now."""

    job_id: UUID
    lease_id: UUID
    seq: int
    state: bytes
    resources: tuple[ResourceResult, ...]
    timings: tuple[Timing, ...] = ()


class DryRunDone(msgspec.Struct, frozen=True, kw_only=True, tag="dry_run_done"):
    """What a start with these values would make."""

    job_id: UUID
    lease_id: UUID
    seq: int
    resources: tuple[ResourceResult, ...]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The job ended without success. `state` non-empty: newer than what the server had; keep it."""

    job_id: UUID
    lease_id: UUID
    seq: int
    error: str
    error_code: JobErrorCode = ""
    outcome: Literal["failed", "canceled"] = "failed"
    state: bytes = b""
    possible_orphans: tuple[str, ...] = ()
    timings: tuple[Timing, ...] = ()


FromProvisioner = (
    Register | Ready | FileRequest | Logs | Renew | StateSaved | ImportDone | BuildDone | DryRunDone | Failed
)
