"""Provisioner jobs, their logs, and the daemons that run them, as the API shows them."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.wire.enums import DaemonStatus, JobStatus, JobType, LogLevel, LogSource, ProvisionerType


class JobInput(msgspec.Struct, omit_defaults=True):
    """What the job is about."""

    template_version_id: UUID | msgspec.UnsetType = msgspec.UNSET
    workspace_build_id: UUID | msgspec.UnsetType = msgspec.UNSET
    error: str = ""


class JobMetadata(msgspec.Struct, omit_defaults=False):
    """Names that a list of jobs shows."""

    template_version_name: str = ""
    template_id: UUID = UUID(int=0)
    template_name: str = ""
    template_display_name: str = ""
    template_icon: str = ""
    workspace_id: UUID | msgspec.UnsetType = msgspec.UNSET
    workspace_name: str | msgspec.UnsetType = msgspec.UNSET


class ProvisionerJob(msgspec.Struct, omit_defaults=False):
    """A unit of Terraform work: an import, a build or a dry run."""

    id: UUID
    created_at: datetime
    status: JobStatus
    file_id: UUID
    tags: dict[str, str]
    queue_position: int
    queue_size: int
    organization_id: UUID
    input: JobInput
    type: JobType
    metadata: JobMetadata
    started_at: datetime | msgspec.UnsetType = msgspec.UNSET
    completed_at: datetime | msgspec.UnsetType = msgspec.UNSET
    canceled_at: datetime | msgspec.UnsetType = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    worker_id: UUID | msgspec.UnsetType = msgspec.UNSET
    worker_name: str | msgspec.UnsetType = msgspec.UNSET
    available_workers: list[UUID] | msgspec.UnsetType = msgspec.UNSET
    logs_overflowed: bool = False
    waiting_reason: str | msgspec.UnsetType = msgspec.UNSET
    """Why no provisioner can take the job now, while it is pending."""


class ProvisionerJobLog(msgspec.Struct):
    """One line of a job's log; ids grow with time."""

    id: int
    created_at: datetime
    log_source: LogSource
    log_level: LogLevel
    stage: str
    output: str


class MatchedProvisioners(msgspec.Struct, omit_defaults=True):
    """How many daemons could take a job: all, and those that are connected; `reason` where none is, and why."""

    count: int
    available: int
    most_recently_seen: datetime | msgspec.UnsetType = msgspec.UNSET
    reason: str = ""


class DaemonJob(msgspec.Struct):
    """A job that a daemon runs or ran."""

    id: UUID
    status: JobStatus
    template_name: str
    template_icon: str
    template_display_name: str


class ProvisionerDaemon(msgspec.Struct, omit_defaults=False):
    """A provisioner process that is or was connected."""

    id: UUID
    organization_id: UUID
    key_id: UUID
    created_at: datetime
    name: str
    version: str
    api_version: str
    provisioners: list[ProvisionerType]
    tags: dict[str, str]
    key_name: str | None
    status: DaemonStatus | None
    current_job: DaemonJob | None
    previous_job: DaemonJob | None
    last_seen_at: datetime | msgspec.UnsetType = msgspec.UNSET


class ProvisionerKey(msgspec.Struct):
    """A key with which provisioners of an organization sign in; `organization` is the organization's id."""

    id: UUID
    created_at: datetime
    organization: UUID
    name: str
    tags: dict[str, str]


class CreateProvisionerKeyRequest(msgspec.Struct):
    """A new key; its tags become those of every provisioner that uses it."""

    name: str
    tags: dict[str, str] = {}


class CreateProvisionerKeyResponse(msgspec.Struct):
    """The key's text, shown once."""

    key: str


class ProvisionerKeyDaemons(msgspec.Struct):
    """A key with the provisioners that use it."""

    key: ProvisionerKey
    daemons: list[ProvisionerDaemon]
