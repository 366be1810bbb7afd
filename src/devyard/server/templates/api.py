"""Routes of templates."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from litestar import Response as HttpResponse
from litestar import delete, get, patch, post

from devyard.server.access.rules import Actor, check, decide_reach
from devyard.server.http.guard import needs
from devyard.server.http.paging import Page, read_page
from devyard.server.jobs.matching import load_matched, load_queue
from devyard.server.organizations.lookup import load_organization
from devyard.server.services import Services
from devyard.server.templates import actions, examples, listing, queries, version_queries
from devyard.server.templates.lookup import load_template, load_template_by_name, load_version_by_name
from devyard.server.templates.queries import TemplateRow
from devyard.server.templates.version_queries import VersionRow
from devyard.server.templates.views import template_view, version_view
from devyard.wire.errors import NotFound, Response
from devyard.wire.templates import (
    ArchiveVersionsRequest,
    ArchiveVersionsResponse,
    CreateTemplateRequest,
    Template,
    TemplateExample,
    TemplateVersion,
    UpdateActiveVersionRequest,
    UpdateTemplateRequest,
)


@get("/templates", opt=needs("template:read"))
async def list_templates(
    actor: Actor, services: Services, q: str = "", limit: int = 0, offset: int = 0
) -> list[Template]:
    """The templates that the caller may see, by name; deleted ones are for those who may change templates."""
    return await _list(actor, services, _decide_bound(actor, "template:read"), q, read_page(limit, offset))


@get("/templates/examples", opt=needs("template:read"))
async def list_examples() -> list[TemplateExample]:
    """Templates to begin with."""
    return await examples.list_examples()


@get("/organizations/{organization:str}/templates/examples", opt=needs("template:read"))
async def list_organization_examples(actor: Actor, services: Services, organization: str) -> list[TemplateExample]:
    """The same, under the path of an organization."""
    await load_organization(services.pool, actor, organization)
    return await examples.list_examples()


@get("/organizations/{organization:str}/templates", opt=needs("template:read"))
async def list_organization_templates(
    actor: Actor, services: Services, organization: str, q: str = "", limit: int = 0, offset: int = 0
) -> list[Template]:
    """The templates of one organization."""
    found = await load_organization(services.pool, actor, organization)
    return await _list(actor, services, [found.id], q, read_page(limit, offset))


@post("/organizations/{organization:str}/templates", opt=needs("template:create"))
async def create_template(
    actor: Actor, services: Services, organization: str, data: CreateTemplateRequest
) -> Template:
    """Make a template from an imported version."""
    found = await load_organization(services.pool, actor, organization)
    check(actor, "template:create", organization_id=found.id, can_read=True)
    return await _view(services, await actions.create_template(services, actor, found.id, data))


@get("/organizations/{organization:str}/templates/{template:str}", opt=needs("template:read"))
async def get_template_by_name(actor: Actor, services: Services, organization: str, template: str) -> Template:
    """One template by name."""
    return await _view(services, await load_template_by_name(services.pool, actor, organization, template))


@get("/templates/{template:str}", opt=needs("template:read"))
async def get_template(actor: Actor, services: Services, template: str) -> Template:
    """One template by id."""
    return await _view(services, await load_template(services.pool, actor, template))


@patch("/templates/{template:str}", opt=needs("template:update"))
async def update_template(
    actor: Actor, services: Services, template: str, data: UpdateTemplateRequest
) -> HttpResponse[Template | None]:
    """Change a template's settings; 304 where nothing differs."""
    row = await load_template(services.pool, actor, template, "template:update")
    changed = await actions.update_template(services, actor, row, data)
    if changed is None:
        return HttpResponse(None, status_code=304)
    return HttpResponse(await _view(services, changed))


@delete("/templates/{template:str}", opt=needs("template:delete"), status_code=200)
async def delete_template(actor: Actor, services: Services, template: str) -> Response:
    """Remove a template from which no workspace is left."""
    row = await load_template(services.pool, actor, template, "template:delete")
    await actions.delete_template(services, actor, row)
    return Response(message="Template has been deleted!")


@get("/templates/{template:str}/versions", opt=needs("template:read"))
async def list_versions(
    actor: Actor,
    services: Services,
    template: str,
    include_archived: bool = False,
    after_id: str = "",
    limit: int = 0,
    offset: int = 0,
) -> list[TemplateVersion]:
    """A template's versions, oldest first."""
    row = await load_template(services.pool, actor, template)
    page = read_page(limit, offset, after_id)
    versions = await version_queries.list_versions(
        services.pool,
        row.id,
        with_archived=include_archived,
        after_id=page.after_id,
        limit=page.limit,
        offset=page.offset,
    )
    queue = await load_queue(services.pool, [version.job for version in versions])
    return [version_view(version, queue=queue.get(version.job.id, (0, 0))) for version in versions]


@patch("/templates/{template:str}/versions", opt=needs("template:update"))
async def promote_version(
    actor: Actor, services: Services, template: str, data: UpdateActiveVersionRequest
) -> Response:
    """Make a version the active one."""
    row = await load_template(services.pool, actor, template, "template:update")
    await actions.promote_version(services, actor, row, data.id)
    return Response(message="Updated the active template version!")


@post("/templates/{template:str}/versions/archive", opt=needs("template:update"), status_code=200)
async def archive_versions(
    actor: Actor, services: Services, template: str, data: ArchiveVersionsRequest
) -> ArchiveVersionsResponse:
    """Hide the versions that failed, or all that nobody uses."""
    row = await load_template(services.pool, actor, template, "template:update")
    archived = await actions.archive_versions(services, actor, row, is_every=data.all)
    return ArchiveVersionsResponse(row.id, archived)


@get("/templates/{template:str}/versions/{name:str}", opt=needs("template:read"))
async def get_version_by_name(actor: Actor, services: Services, template: str, name: str) -> TemplateVersion:
    """A template's version by name."""
    row = await load_template(services.pool, actor, template)
    return await load_version_view(services, await load_version_by_name(services.pool, row, name))


@get("/organizations/{organization:str}/templates/{template:str}/versions/{name:str}", opt=needs("template:read"))
async def get_organization_version(
    actor: Actor, services: Services, organization: str, template: str, name: str
) -> TemplateVersion:
    """A version by the names of organization, template and version."""
    row = await load_template_by_name(services.pool, actor, organization, template)
    return await load_version_view(services, await load_version_by_name(services.pool, row, name))


@get(
    "/organizations/{organization:str}/templates/{template:str}/versions/{name:str}/previous",
    opt=needs("template:read"),
)
async def get_previous_version(
    actor: Actor, services: Services, organization: str, template: str, name: str
) -> TemplateVersion:
    """The version before that one."""
    row = await load_template_by_name(services.pool, actor, organization, template)
    version = await load_version_by_name(services.pool, row, name)
    previous = await version_queries.get_previous_version(services.pool, row.id, version.created_at)
    if previous is None:
        raise NotFound(f'There is no version before "{name[:64]}".')
    return await load_version_view(services, previous)


async def _list(
    actor: Actor, services: Services, bound: Sequence[UUID] | None, q: str, page: Page
) -> list[Template]:
    rows = await listing.list_templates(
        services.pool,
        listing.read_filter(q, actor),
        bound,
        page,
        deleted_in=_decide_bound(actor, "template:update"),
    )
    return await _views(services, rows)


def _decide_bound(actor: Actor, permission: str) -> Sequence[UUID] | None:
    """The organizations in which the actor may do this to templates; None for all of them."""
    reach = decide_reach(actor, permission)
    if reach == "site":
        return None
    return actor.organization_ids if reach == "organization" else ()


async def load_version_view(services: Services, row: VersionRow) -> TemplateVersion:
    """A version with its place in the queue and the provisioners that could import it."""
    queue = await load_queue(services.pool, [row.job])
    matched = await load_matched(services.pool, row.job) if row.job.status == "pending" else None
    return version_view(row, queue=queue.get(row.job.id, (0, 0)), matched=matched)


async def _view(services: Services, row: TemplateRow) -> Template:
    return (await _views(services, [row]))[0]


async def _views(services: Services, rows: Sequence[TemplateRow]) -> list[Template]:
    times = await queries.list_build_times(services.pool, [row.id for row in rows]) if rows else {}
    return [template_view(row, times) for row in rows]


routes: list[Any] = [
    list_templates,
    list_examples,
    list_organization_examples,
    list_organization_templates,
    create_template,
    get_template_by_name,
    get_template,
    update_template,
    delete_template,
    list_versions,
    promote_version,
    archive_versions,
    get_version_by_name,
    get_organization_version,
    get_previous_version,
]
