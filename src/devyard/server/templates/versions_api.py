"""Routes of template versions and their dry runs."""

from typing import Any

from litestar import get, patch, post, websocket

from devyard.server.access.rules import Actor, check, is_allowed
from devyard.server.http.guard import needs
from devyard.server.http.ids import parse_id
from devyard.server.http.streams import AnySocket
from devyard.server.jobs.logs import list_logs, send_logs
from devyard.server.jobs.matching import load_matched, load_queue
from devyard.server.jobs.queries import JobRow, get_job
from devyard.server.jobs.views import job_view
from devyard.server.organizations.lookup import load_organization
from devyard.server.services import Services
from devyard.server.templates import version_queries, versions
from devyard.server.templates.api import load_version_view
from devyard.server.templates.lookup import load_version
from devyard.server.templates.planned import planned_views
from devyard.server.templates.version_queries import VersionContent, VersionRow
from devyard.server.templates.views import job_metadata, parameter_views, preset_views, variable_views
from devyard.wire.errors import NotFound, PreconditionFailed, Response
from devyard.wire.jobs import MatchedProvisioners, ProvisionerJob, ProvisionerJobLog
from devyard.wire.templates import (
    CreateTemplateVersionRequest,
    DryRunRequest,
    PatchTemplateVersionRequest,
    Preset,
    TemplateParameter,
    TemplateVariable,
    TemplateVersion,
)
from devyard.wire.workspaces import WorkspaceResource

VERSION = "/templateversions/{version:str}"
DRY_RUN = "/templateversions/{version:str}/dry-run/{job:str}"


@post("/organizations/{organization:str}/templateversions", opt=needs("template:create"))
async def create_version(
    actor: Actor, services: Services, organization: str, data: CreateTemplateVersionRequest
) -> TemplateVersion:
    """Make a version from an uploaded archive and queue its import."""
    found = await load_organization(services.pool, actor, organization)
    check(actor, "template:create", organization_id=found.id, can_read=True)
    return await load_version_view(services, await versions.create_version(services, actor, found.id, data))


@get(VERSION, opt=needs("template:read"))
async def get_version(actor: Actor, services: Services, version: str) -> TemplateVersion:
    """One version with its job."""
    return await load_version_view(services, await load_version(services.pool, actor, version))


@patch(VERSION, opt=needs("template:update"))
async def update_version(
    actor: Actor, services: Services, version: str, data: PatchTemplateVersionRequest
) -> TemplateVersion:
    """Change a version's name or message."""
    row = await load_version(services.pool, actor, version, "template:update")
    return await load_version_view(services, await versions.update_version(services, actor, row, data))


@patch(f"{VERSION}/cancel", opt=needs("template:update"))
async def cancel_import(actor: Actor, services: Services, version: str) -> Response:
    """Ask a version's import to stop."""
    row = await load_version(services.pool, actor, version, "template:update")
    await versions.cancel_import(services, actor, row)
    return Response(message="Job has been marked as canceled...")


@post(f"{VERSION}/archive", opt=needs("template:update"), status_code=200)
async def archive_version(actor: Actor, services: Services, version: str) -> Response:
    """Hide a version."""
    row = await load_version(services.pool, actor, version, "template:update")
    await versions.archive_version(services, actor, row, archived=True)
    return Response(message="The template version is archived.")


@post(f"{VERSION}/unarchive", opt=needs("template:update"), status_code=200)
async def unarchive_version(actor: Actor, services: Services, version: str) -> Response:
    """Show a hidden version again."""
    row = await load_version(services.pool, actor, version, "template:update")
    await versions.archive_version(services, actor, row, archived=False)
    return Response(message="The template version is back.")


@get(f"{VERSION}/logs", opt=needs("template:read"))
async def get_logs(
    actor: Actor, services: Services, version: str, after: int = 0, before: int = 0
) -> list[ProvisionerJobLog]:
    """The log of a version's import so far."""
    row = await load_version(services.pool, actor, version)
    return await list_logs(services.pool, row.job.id, after=after, before=before)


@websocket(f"{VERSION}/logs", opt=needs("template:read"))
async def follow_logs(socket: AnySocket, actor: Actor, services: Services, version: str, after: int = 0) -> None:
    """The log of a version's import as it grows; closed when the import has ended."""
    row = await load_version(services.pool, actor, version)
    await send_logs(socket, services, row.job.id, after=after)


@get(f"{VERSION}/rich-parameters", opt=needs("template:read"))
async def list_parameters(actor: Actor, services: Services, version: str) -> list[TemplateParameter]:
    """The parameters that a workspace of this version takes."""
    return parameter_views(await _load_content(services, await load_version(services.pool, actor, version)))


@get(f"{VERSION}/variables", opt=needs("template:read"))
async def list_variables(actor: Actor, services: Services, version: str) -> list[TemplateVariable]:
    """The Terraform variables; values of sensitive ones are left out."""
    return variable_views(await _load_content(services, await load_version(services.pool, actor, version)))


@get(f"{VERSION}/presets", opt=needs("template:read"))
async def list_presets(actor: Actor, services: Services, version: str) -> list[Preset]:
    """The bundles of parameter values."""
    return preset_views(await _load_content(services, await load_version(services.pool, actor, version)))


@get(f"{VERSION}/external-auth", opt=needs("template:read"))
async def list_external_auth(actor: Actor, services: Services, version: str) -> list[dict[str, str]]:
    """Accounts that a workspace needs; none can be linked here yet."""
    await load_version(services.pool, actor, version)
    return []


@get(f"{VERSION}/resources", opt=needs("template:read"))
async def list_resources(actor: Actor, services: Services, version: str) -> list[WorkspaceResource]:
    """What a workspace of this version is made of, started and stopped."""
    row = await load_version(services.pool, actor, version)
    content = await _load_content(services, row)
    return planned_views(content.resources, job_id=row.job.id, created_at=row.created_at)


@post(f"{VERSION}/dry-run", opt=needs("template:use"))
async def create_dry_run(actor: Actor, services: Services, version: str, data: DryRunRequest) -> ProvisionerJob:
    """Queue a plan with the given values; nothing is made."""
    row = await load_version(services.pool, actor, version, "template:use")
    return await _dry_run_view(services, row, await versions.create_dry_run(services, actor, row, data))


@get(DRY_RUN, opt=needs("template:use"))
async def get_dry_run(actor: Actor, services: Services, version: str, job: str) -> ProvisionerJob:
    """A dry run's job."""
    row, found = await _load_dry_run(actor, services, version, job)
    return await _dry_run_view(services, row, found)


@get(f"{DRY_RUN}/resources", opt=needs("template:use"))
async def list_dry_run_resources(
    actor: Actor, services: Services, version: str, job: str
) -> list[WorkspaceResource]:
    """What a start with the given values would make."""
    _, found = await _load_dry_run(actor, services, version, job)
    if not found.is_ended:
        raise PreconditionFailed("The dry run has not ended yet.")
    result = await version_queries.get_result(services.pool, found.id)
    return planned_views(result.get("resources", []), job_id=found.id, created_at=found.created_at)


@get(f"{DRY_RUN}/matched-provisioners", opt=needs("template:use"))
async def get_dry_run_matches(actor: Actor, services: Services, version: str, job: str) -> MatchedProvisioners:
    """How many provisioners could take a dry run."""
    _, found = await _load_dry_run(actor, services, version, job)
    return await load_matched(services.pool, found)


@get(f"{DRY_RUN}/logs", opt=needs("template:use"))
async def get_dry_run_logs(
    actor: Actor, services: Services, version: str, job: str, after: int = 0, before: int = 0
) -> list[ProvisionerJobLog]:
    """The log of a dry run so far."""
    _, found = await _load_dry_run(actor, services, version, job)
    return await list_logs(services.pool, found.id, after=after, before=before)


@websocket(f"{DRY_RUN}/logs", opt=needs("template:use"))
async def follow_dry_run_logs(
    socket: AnySocket, actor: Actor, services: Services, version: str, job: str, after: int = 0
) -> None:
    """The log of a dry run as it grows; closed when the dry run has ended."""
    _, found = await _load_dry_run(actor, services, version, job)
    await send_logs(socket, services, found.id, after=after)


@patch(f"{DRY_RUN}/cancel", opt=needs("template:use"))
async def cancel_dry_run(actor: Actor, services: Services, version: str, job: str) -> Response:
    """Ask a dry run to stop."""
    row, found = await _load_dry_run(actor, services, version, job)
    await versions.cancel_dry_run(services, actor, row, found)
    return Response(message="Job has been marked as canceled...")


async def _load_content(services: Services, row: VersionRow) -> VersionContent:
    """What the import has found.

    Raises:
        PreconditionFailed: it has not ended with success.
    """
    if row.job.status != "succeeded":
        raise PreconditionFailed("The version's import has not succeeded (yet). Its log says more.")
    content = await version_queries.get_content(services.pool, row.id)
    if content is None:
        raise NotFound
    return content


async def _load_dry_run(actor: Actor, services: Services, version: str, job: str) -> tuple[VersionRow, JobRow]:
    """A dry run of the actor's own, or any for those who may change the template."""
    row = await load_version(services.pool, actor, version, "template:use")
    found = await get_job(services.pool, parse_id("job", job))
    if found is None or found.type != "template_version_dry_run" or found.template_version_id != row.id:
        raise NotFound
    is_admin = is_allowed(actor, "template:update", organization_id=row.organization_id)
    if found.initiator_id != actor.user_id and not is_admin:
        raise NotFound
    return row, found


async def _dry_run_view(services: Services, row: VersionRow, job: JobRow) -> ProvisionerJob:
    queue = await load_queue(services.pool, [job])
    return job_view(job, queue=queue.get(job.id, (0, 0)), metadata=job_metadata(row))


routes: list[Any] = [
    create_version,
    get_version,
    update_version,
    cancel_import,
    archive_version,
    unarchive_version,
    get_logs,
    follow_logs,
    list_parameters,
    list_variables,
    list_presets,
    list_external_auth,
    list_resources,
    create_dry_run,
    get_dry_run,
    list_dry_run_resources,
    get_dry_run_matches,
    get_dry_run_logs,
    follow_dry_run_logs,
    cancel_dry_run,
]
