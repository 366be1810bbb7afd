"""Templates and versions as the API shows them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.jobs.views import job_view, present
from devyard.server.templates.queries import TemplateRow
from devyard.server.templates.version_queries import VersionContent, VersionRow
from devyard.wire.identity import MinimalUser
from devyard.wire.jobs import JobMetadata, MatchedProvisioners, ProvisionerJob
from devyard.wire.parameters import ParameterDefinition
from devyard.wire.templates import (
    AutostartRequirement,
    AutostopRequirement,
    BuildTimeStat,
    Preset,
    PresetParameter,
    Template,
    TemplateParameter,
    TemplateParameterOption,
    TemplateVariable,
    TemplateVersion,
)

BuildTimes = Mapping[tuple[UUID, str], tuple[int | None, int | None]]


def template_view(row: TemplateRow, times: BuildTimes) -> Template:
    """A template with its settings and build times."""
    settings = row.settings
    return Template(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        organization_id=row.organization_id,
        organization_name=row.organization_name,
        organization_display_name=row.organization_display_name,
        organization_icon=row.organization_icon,
        name=row.name,
        display_name=row.display_name,
        provisioner="terraform",
        active_version_id=row.active_version_id,
        active_user_count=row.active_user_count,
        build_time_stats={
            transition: BuildTimeStat(*times.get((row.id, transition), (None, None)))
            for transition in ("start", "stop", "delete")
        },
        description=row.description,
        deprecated=bool(row.deprecation_message),
        deprecation_message=row.deprecation_message,
        icon=row.icon,
        default_ttl_ms=row.default_ttl_ms,
        activity_bump_ms=row.activity_bump_ms,
        autostop_requirement=AutostopRequirement(**settings.get("autostop_requirement", {})),
        autostart_requirement=AutostartRequirement(**settings.get("autostart_requirement", {})),
        created_by_id=row.created_by,
        created_by_name=row.created_by_name,
        allow_user_autostart=settings.get("allow_user_autostart", True),
        allow_user_autostop=settings.get("allow_user_autostop", True),
        allow_user_cancel_workspace_jobs=row.allow_user_cancel_workspace_jobs,
        failure_ttl_ms=settings.get("failure_ttl_ms", 0),
        time_til_dormant_ms=settings.get("time_til_dormant_ms", 0),
        time_til_dormant_autodelete_ms=settings.get("time_til_dormant_autodelete_ms", 0),
        require_active_version=row.require_active_version,
        max_port_share_level=settings.get("max_port_share_level", "owner"),
        use_classic_parameter_flow=settings.get("use_classic_parameter_flow", False),
        cors_behavior=settings.get("cors_behavior", "simple"),
        deleted=row.is_deleted,
    )


def version_view(
    row: VersionRow, *, queue: tuple[int, int] = (0, 0), matched: MatchedProvisioners | None = None
) -> TemplateVersion:
    """A version with its job."""
    return TemplateVersion(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        name=row.name,
        message=row.message,
        job=version_job_view(row, queue=queue, matched=matched),
        readme=row.readme,
        created_by=MinimalUser(
            row.created_by, row.created_by_username, row.created_by_name, row.created_by_avatar_url
        ),
        archived=row.archived,
        template_id=present(row.template_id),
        organization_id=row.organization_id,
        warnings=list(row.warnings),
        matched_provisioners=present(matched),
    )


def version_job_view(
    row: VersionRow, *, queue: tuple[int, int], matched: MatchedProvisioners | None = None
) -> ProvisionerJob:
    """A version's import job."""
    return job_view(row.job, queue=queue, worker_name=row.worker_name, metadata=job_metadata(row), matched=matched)


def job_metadata(row: VersionRow) -> JobMetadata:
    """Names that go with the jobs of a version."""
    return JobMetadata(
        template_version_name=row.name,
        template_id=row.template_id or UUID(int=0),
        template_name=row.template_name,
        template_display_name=row.template_display_name,
        template_icon=row.template_icon,
    )


def parameter_views(content: VersionContent) -> list[TemplateParameter]:
    """The parameters that a form asks for."""
    return [_parameter_view(msgspec.convert(item, ParameterDefinition)) for item in content.parameters]


def _parameter_view(item: ParameterDefinition) -> TemplateParameter:
    return TemplateParameter(
        name=item.name,
        description=item.description,
        description_plaintext=item.description,
        type=item.type,
        form_type=item.form_type,
        mutable=item.mutable,
        default_value=item.default_value,
        icon=item.icon,
        options=[TemplateParameterOption(o.name, o.description, o.value, o.icon) for o in item.options],
        required=item.required,
        ephemeral=item.ephemeral,
        display_name=present(item.display_name or None),
        validation_error=present(item.validation_error or None),
        validation_regex=present(item.validation_regex or None),
        validation_min=present(item.validation_min),
        validation_max=present(item.validation_max),
        validation_monotonic=present(item.validation_monotonic or None),
    )


def variable_views(content: VersionContent) -> list[TemplateVariable]:
    """The variables with the values that were given; a sensitive value is left out."""
    given = {value["name"]: value["value"] for value in content.variable_values}
    return [_variable_view(item, given) for item in content.variables]


def _variable_view(item: Mapping[str, Any], given: Mapping[str, str]) -> TemplateVariable:
    is_sensitive = bool(item["sensitive"])
    return TemplateVariable(
        name=item["name"],
        description=item["description"],
        type=item["type"],
        value="" if is_sensitive else given.get(item["name"], item["default_value"]),
        default_value="" if is_sensitive else item["default_value"],
        required=item["required"],
        sensitive=is_sensitive,
    )


def preset_views(content: VersionContent) -> list[Preset]:
    """The bundles of parameter values."""
    return [
        Preset(
            ID=UUID(item["id"]),
            Name=item["name"],
            Parameters=[PresetParameter(name, value) for name, value in item.get("parameters", {}).items()],
            Default=bool(item.get("is_default", False)),
        )
        for item in content.presets
    ]
