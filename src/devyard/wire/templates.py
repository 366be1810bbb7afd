"""Templates, their versions, parameters and variables as the API shows them."""

from datetime import datetime
from uuid import UUID

import msgspec

from devyard.wire.enums import ProvisionerType, StorageMethod
from devyard.wire.identity import MinimalUser
from devyard.wire.jobs import MatchedProvisioners, ProvisionerJob


class UploadResponse(msgspec.Struct):
    """`hash` is the file's id (the name is what clients expect)."""

    hash: UUID


class BuildTimeStat(msgspec.Struct):
    """Milliseconds, or null before there was a build."""

    P50: int | None = None
    P95: int | None = None


class AutostopRequirement(msgspec.Struct):
    """Days on which a workspace has to stop, every `weeks` weeks."""

    days_of_week: list[str] = []
    weeks: int = 0


class AutostartRequirement(msgspec.Struct):
    """Days on which a workspace may start by itself."""

    days_of_week: list[str] = []


class Template(msgspec.Struct):
    """An administrator's definition of workspaces."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    organization_id: UUID
    organization_name: str
    organization_display_name: str
    organization_icon: str
    name: str
    display_name: str
    provisioner: ProvisionerType
    active_version_id: UUID
    active_user_count: int
    build_time_stats: dict[str, BuildTimeStat]
    description: str
    deprecated: bool
    deprecation_message: str
    icon: str
    default_ttl_ms: int
    activity_bump_ms: int
    autostop_requirement: AutostopRequirement
    autostart_requirement: AutostartRequirement
    created_by_id: UUID
    created_by_name: str
    allow_user_autostart: bool
    allow_user_autostop: bool
    allow_user_cancel_workspace_jobs: bool
    failure_ttl_ms: int
    time_til_dormant_ms: int
    time_til_dormant_autodelete_ms: int
    require_active_version: bool
    max_port_share_level: str
    use_classic_parameter_flow: bool = False
    cors_behavior: str = "simple"
    deleted: bool = False


class VariableValue(msgspec.Struct):
    """A Terraform variable as an administrator sets it for a version."""

    name: str
    value: str


class CreateTemplateVersionRequest(msgspec.Struct):
    """A version from an uploaded archive. The zero UUID counts as no template."""

    storage_method: StorageMethod = "file"
    provisioner: ProvisionerType = "terraform"
    name: str = ""
    message: str = ""
    template_id: UUID | None = None
    file_id: UUID | None = None
    example_id: str = ""
    tags: dict[str, str] = {}
    user_variable_values: list[VariableValue] = []


class CreateTemplateRequest(msgspec.Struct):
    """A template from a version whose import succeeded."""

    name: str
    template_version_id: UUID
    display_name: str = ""
    description: str = ""
    icon: str = ""
    default_ttl_ms: int | None = None
    activity_bump_ms: int | None = None
    autostop_requirement: AutostopRequirement | None = None
    autostart_requirement: AutostartRequirement | None = None
    allow_user_cancel_workspace_jobs: bool | None = None
    allow_user_autostart: bool | None = None
    allow_user_autostop: bool | None = None
    failure_ttl_ms: int | None = None
    dormant_ttl_ms: int | None = None
    delete_ttl_ms: int | None = None
    disable_everyone_group_access: bool = False
    require_active_version: bool = False
    max_port_share_level: str | None = None
    use_classic_parameter_flow: bool | None = None
    cors_behavior: str | None = None


class UpdateTemplateRequest(msgspec.Struct):
    """Changes of a template's settings; what is null or absent stays."""

    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    icon: str | None = None
    default_ttl_ms: int | None = None
    activity_bump_ms: int | None = None
    autostop_requirement: AutostopRequirement | None = None
    autostart_requirement: AutostartRequirement | None = None
    allow_user_autostart: bool | None = None
    allow_user_autostop: bool | None = None
    allow_user_cancel_workspace_jobs: bool | None = None
    failure_ttl_ms: int | None = None
    time_til_dormant_ms: int | None = None
    time_til_dormant_autodelete_ms: int | None = None
    update_workspace_last_used_at: bool = False
    update_workspace_dormant_at: bool = False
    require_active_version: bool | None = None
    deprecation_message: str | None = None
    disable_everyone_group_access: bool = False
    max_port_share_level: str | None = None
    use_classic_parameter_flow: bool | None = None
    cors_behavior: str | None = None


class ArchiveVersionsRequest(msgspec.Struct):
    """`all`: every version that no workspace uses; else only those whose import failed."""

    all: bool = False


class ArchiveVersionsResponse(msgspec.Struct):
    """The versions that were hidden."""

    template_id: UUID
    archived_ids: list[UUID]


class TemplateExample(msgspec.Struct):
    """A template to begin with; its `id` goes into `example_id` of a new version."""

    id: str
    url: str
    name: str
    description: str
    icon: str
    tags: list[str]
    markdown: str


class UpdateActiveVersionRequest(msgspec.Struct):
    """The version that new builds take."""

    id: UUID


class TemplateVersion(msgspec.Struct, omit_defaults=False):
    """One upload of a template."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    name: str
    message: str
    job: ProvisionerJob
    readme: str
    created_by: MinimalUser
    archived: bool
    template_id: UUID | msgspec.UnsetType = msgspec.UNSET
    organization_id: UUID | msgspec.UnsetType = msgspec.UNSET
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    matched_provisioners: MatchedProvisioners | msgspec.UnsetType = msgspec.UNSET


class PatchTemplateVersionRequest(msgspec.Struct):
    """A version's name and message."""

    name: str = ""
    message: str | None = None


class TemplateParameterOption(msgspec.Struct):
    """One choice of a parameter."""

    name: str
    description: str
    value: str
    icon: str


class TemplateParameter(msgspec.Struct, omit_defaults=False):
    """A parameter that the form asks for (`/rich-parameters`)."""

    name: str
    description: str
    description_plaintext: str
    type: str
    form_type: str
    mutable: bool
    default_value: str
    icon: str
    options: list[TemplateParameterOption]
    required: bool
    ephemeral: bool
    display_name: str | msgspec.UnsetType = msgspec.UNSET
    validation_error: str | msgspec.UnsetType = msgspec.UNSET
    validation_regex: str | msgspec.UnsetType = msgspec.UNSET
    validation_min: int | msgspec.UnsetType = msgspec.UNSET
    validation_max: int | msgspec.UnsetType = msgspec.UNSET
    validation_monotonic: str | msgspec.UnsetType = msgspec.UNSET


class TemplateVariable(msgspec.Struct):
    """A Terraform variable of a version; a sensitive value is never returned."""

    name: str
    description: str
    type: str
    value: str
    default_value: str
    required: bool
    sensitive: bool


class PresetParameter(msgspec.Struct):
    """Field names as clients read them."""

    Name: str
    Value: str


class Preset(msgspec.Struct):
    """A named bundle of parameter values. Field names as clients read them."""

    ID: UUID
    Name: str
    Parameters: list[PresetParameter]
    Default: bool = False


class ParameterValue(msgspec.Struct, frozen=True):
    """A parameter's value as a user gives it; every type is text on the wire."""

    name: str
    value: str


class DryRunRequest(msgspec.Struct):
    """A plan without an apply, with these values."""

    workspace_name: str = ""
    rich_parameter_values: list[ParameterValue] = []
    user_variable_values: list[VariableValue] = []
