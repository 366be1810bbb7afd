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
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.provisionerpackages import (
    Package,
    PackageChunk,
    PackageOffer,
    PackageRequest,
    PackageWanted,
    TerraformSettings,
)
from devyard.wire.provisionerresults import (
    PresetResult,
    ResourceResult,
    TemplateVariableResult,
    Timing,
)

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


class FormRequest(msgspec.Struct, frozen=True, kw_only=True, tag="form"):
    """Work out a form (provisionerforms.py): what a start with these values would ask for."""

    request_id: UUID
    template_version_id: UUID
    archive: Archive
    context: WorkspaceContext
    parameters: Mapping[str, str]
    previous_parameters: Mapping[str, str] = {}
    variables: tuple[Variable, ...] = ()
    packages: tuple[Package, ...] = ()
    lock_file: bytes = b""
    terraform: TerraformSettings = TerraformSettings()


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
    refresh: bool = False
    """Compare the state with what exists first, also where the transition needs no such look."""


class DryRunJob(msgspec.Struct, frozen=True, tag="dry_run"):
    """Plan a start with these values and apply nothing."""

    context: WorkspaceContext
    parameters: Mapping[str, str]
    agent_resources: Mapping[str, str]
    variables: tuple[Variable, ...] = ()


class Limits(msgspec.Struct, frozen=True):
    """What a job may use: `time_s` from its start; memory, processes (threads count) and files' size of Terraform
    and all that a template starts; `disk_mb` in the job's directory.
    """

    time_s: int = 3600
    memory_mb: int = 4096
    processes: int = 2048
    disk_mb: int = 2048


class Job(msgspec.Struct, frozen=True, tag="job"):
    """A claimed job; `template_version_id` keys what a provisioner prepares once per version."""

    job_id: UUID
    lease_id: UUID
    template_version_id: UUID
    archive: Archive
    work: ImportJob | BuildJob | DryRunJob
    packages: tuple[Package, ...] = ()
    lock_file: bytes = b""
    """`.terraform.lock.hcl` as the import left it."""
    terraform: TerraformSettings = TerraformSettings()
    limits: Limits = Limits()


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


ToProvisioner = Job | FormRequest | Cancel | FileChunk | PackageWanted | PackageChunk | Stored | Drain

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
    form_slots: int = 0
    """How many forms it works out at once."""


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
    """Log lines in order; at most 200 a message. Acknowledged; one that was sent again is kept once, by `seq`."""

    job_id: UUID
    lease_id: UUID
    lines: tuple[JobLogLine, ...]
    seq: int = 0


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """The job is alive."""

    job_id: UUID
    lease_id: UUID


class InFlight(msgspec.Struct, frozen=True, tag="in_flight"):
    """Resources that Terraform makes or removes right now, and those made that no saved state shows yet.

    Each with a word on how far it is. Sent whenever the set changes, after the `StateSaved` that made it smaller;
    kept with the job, so that the server can name possible orphans of a provisioner that is never heard of again.
    """

    job_id: UUID
    lease_id: UUID
    creating: tuple[str, ...] = ()
    destroying: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    """To be made in this run; Terraform has not said that it began."""


class LostState(msgspec.Struct, frozen=True, tag="lost_state"):
    """What a killed provisioner left, found by the next one on its machine. Answered by `Stored`.

    Whoever held this lease is gone, so a job that still runs under it ends. The state (may be empty) is taken only
    where it continues (lineage, serial) the latest build's.
    """

    job_id: UUID
    lease_id: UUID
    seq: int
    state: bytes
    error: str = ""
    possible_orphans: tuple[str, ...] = ()


class StateSaved(msgspec.Struct, frozen=True, tag="state"):
    """Terraform's state as it stands while applying; parses, newer `serial`, same `lineage`."""

    job_id: UUID
    lease_id: UUID
    seq: int
    state: bytes


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
    workspace_tags: Mapping[str, str] = {}
    """`coder_workspace_tags` for the parameters' defaults."""
    dynamic_parameters: bool = False
    """Whether the parameters may be others for another owner or for other values: a build needs their form."""
    packages: tuple[Package, ...] = ()
    lock_file: bytes = b""


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
    Register
    | Ready
    | FileRequest
    | PackageRequest
    | PackageOffer
    | PackageChunk
    | FormAnswer
    | Logs
    | Renew
    | InFlight
    | LostState
    | StateSaved
    | ImportDone
    | BuildDone
    | DryRunDone
    | Failed
)
