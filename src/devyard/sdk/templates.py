"""Templates, their versions and archives over a `Client`. `organization` is an id, a name or `default`."""

from collections.abc import Mapping
from uuid import UUID

from devyard.sdk.client import Client, segment
from devyard.wire.forms import DynamicParametersRequest, DynamicParametersResponse
from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.templates import (
    ArchiveVersionsRequest,
    ArchiveVersionsResponse,
    CreateTemplateRequest,
    CreateTemplateVersionRequest,
    Preset,
    Template,
    TemplateParameter,
    TemplateVariable,
    TemplateVersion,
    UpdateActiveVersionRequest,
    UpdateTemplateRequest,
    UploadResponse,
)


def list_templates(client: Client, query: str = "") -> list[Template]:
    """The templates that the caller may use, by a `q` filter."""
    return client.get("/templates", list[Template], q=query)


def load_template(client: Client, organization: str, name: str) -> Template:
    """A template by name. Raises NotFound."""
    return client.get(f"/organizations/{segment(organization)}/templates/{segment(name)}", Template)


def get_template(client: Client, template_id: UUID) -> Template:
    """A template by id. Raises NotFound."""
    return client.get(f"/templates/{template_id}", Template)


def create_template(client: Client, organization: str, request: CreateTemplateRequest) -> Template:
    """A template from an imported version."""
    return client.send("POST", f"/organizations/{segment(organization)}/templates", request, Template)


def update_template(client: Client, template_id: UUID, request: UpdateTemplateRequest) -> None:
    """Changes settings; what is None stays."""
    client.do("PATCH", f"/templates/{template_id}", request)


def delete_template(client: Client, template_id: UUID) -> None:
    """Removes a template that no workspace uses."""
    client.do("DELETE", f"/templates/{template_id}")


def list_versions(client: Client, template_id: UUID, *, include_archived: bool = False) -> list[TemplateVersion]:
    """All versions of a template."""
    path = f"/templates/{template_id}/versions"
    return client.get(path, list[TemplateVersion], include_archived=include_archived or None)


def load_version(client: Client, template_id: UUID, name: str) -> TemplateVersion:
    """A version by its name. Raises NotFound."""
    return client.get(f"/templates/{template_id}/versions/{segment(name)}", TemplateVersion)


def get_version(client: Client, version_id: UUID) -> TemplateVersion:
    """A version by id. Raises NotFound."""
    return client.get(f"/templateversions/{version_id}", TemplateVersion)


def create_version(client: Client, organization: str, request: CreateTemplateVersionRequest) -> TemplateVersion:
    """A version from an uploaded archive; its import has begun."""
    return client.send(
        "POST", f"/organizations/{segment(organization)}/templateversions", request, TemplateVersion
    )


def promote_version(client: Client, template_id: UUID, version_id: UUID) -> None:
    """Makes a version the one that new builds take."""
    client.do("PATCH", f"/templates/{template_id}/versions", UpdateActiveVersionRequest(version_id))


def archive_version(client: Client, version_id: UUID) -> None:
    """Hides a version. Raises PreconditionFailed, Conflict while it is the active one or in use."""
    client.do("POST", f"/templateversions/{version_id}/archive")


def unarchive_version(client: Client, version_id: UUID) -> None:
    """Shows a hidden version again."""
    client.do("POST", f"/templateversions/{version_id}/unarchive")


def archive_unused_versions(client: Client, template_id: UUID, *, all_: bool) -> list[UUID]:
    """Hides failed versions that nothing uses, or with `all_` every unused one; which ones it hid."""
    path = f"/templates/{template_id}/versions/archive"
    return client.send("POST", path, ArchiveVersionsRequest(all_), ArchiveVersionsResponse).archived_ids


def list_variables(client: Client, version_id: UUID) -> list[TemplateVariable]:
    """A version's Terraform variables; sensitive values are not in it."""
    return client.get(f"/templateversions/{version_id}/variables", list[TemplateVariable])


def list_parameters(client: Client, version_id: UUID) -> list[TemplateParameter]:
    """What a version asks for."""
    return client.get(f"/templateversions/{version_id}/rich-parameters", list[TemplateParameter])


def evaluate_parameters(
    client: Client,
    version_id: UUID,
    inputs: Mapping[str, str],
    owner_id: UUID | None = None,
    workspace_id: UUID | None = None,
) -> DynamicParametersResponse:
    """What a version asks for when these values are given, with what is wrong with them.

    `owner_id`: who the workspace is for, by default the caller. `workspace_id`: one that is there already, whose
    last values stand for those left out. Raises Unavailable: no provisioner could work it out.
    """
    request = DynamicParametersRequest(inputs=inputs, owner_id=owner_id, workspace_id=workspace_id)
    path = f"/templateversions/{version_id}/dynamic-parameters/evaluate"
    return client.send("POST", path, request, DynamicParametersResponse)


def list_presets(client: Client, version_id: UUID) -> list[Preset]:
    """Named bundles of values."""
    return client.get(f"/templateversions/{version_id}/presets", list[Preset])


def list_logs(client: Client, version_id: UUID, after: int = 0) -> list[ProvisionerJobLog]:
    """The import's log lines after an id."""
    return client.get(f"/templateversions/{version_id}/logs", list[ProvisionerJobLog], after=after or None)


def upload_file(client: Client, data: bytes, content_type: str = "application/x-tar") -> UUID:
    """Stores an archive; the same bytes have the same id."""
    return client.upload("/files", data, content_type, UploadResponse).hash


def download_file(client: Client, file_id: UUID, format_: str | None = None) -> bytes:
    """An archive as tar, or `zip`."""
    return client.get_bytes(f"/files/{file_id}", format=format_)
