"""Writes on templates; each owns its transaction and leaves an audit row in it."""

from typing import Any
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor
from devyard.server.audit.actions import record
from devyard.server.db.pool import transaction
from devyard.server.http.ids import load_present
from devyard.server.services import Services
from devyard.server.templates import queries, rules, version_queries
from devyard.server.templates.queries import TemplateRow
from devyard.wire.errors import Conflict, NotFound
from devyard.wire.templates import CreateTemplateRequest, UpdateTemplateRequest

DEFAULT_BUMP_MS = 3_600_000
CHANGEABLE = (
    "name",
    "display_name",
    "description",
    "icon",
    "default_ttl_ms",
    "activity_bump_ms",
    "allow_user_cancel_workspace_jobs",
    "require_active_version",
    "deprecation_message",
)
"""Settings with a column of their own; the others lie together in `settings`."""


async def create_template(
    services: Services, actor: Actor, organization_id: UUID, request: CreateTemplateRequest
) -> TemplateRow:
    """A template from a version that was imported and belongs to none.

    Raises:
        Invalid: names the fields. NotFound: no such version. PreconditionFailed: its import did not succeed.
        Conflict: the name is taken, or the version belongs to a template.
    """
    rules.check_template(request)
    template_id = uuid4()
    async with transaction(services.pool) as connection:
        version = await version_queries.get_version(connection, load_present(request.template_version_id))
        if version is None or version.organization_id != organization_id:
            raise NotFound("There is no such template version in this organization.")
        rules.check_can_be_active(version.job.status, is_archived=version.archived)
        await queries.insert_template(
            connection,
            template_id=template_id,
            organization_id=organization_id,
            name=request.name,
            display_name=request.display_name,
            description=request.description,
            icon=request.icon,
            active_version_id=version.id,
            created_by=actor.user_id,
            default_ttl_ms=request.default_ttl_ms or 0,
            activity_bump_ms=DEFAULT_BUMP_MS if request.activity_bump_ms is None else request.activity_bump_ms,
            settings=rules.decide_settings(request),
            allow_user_cancel_workspace_jobs=request.allow_user_cancel_workspace_jobs is not False,
            require_active_version=request.require_active_version,
        )
        if not await version_queries.adopt_version(connection, version.id, template_id):
            raise Conflict("The version belongs to a template already. Push the directory again for a new one.")
        await record(
            connection,
            actor,
            "create",
            "template",
            template_id,
            target=request.name,
            after={"name": request.name, "active_version": version.name},
            organization_id=organization_id,
        )
        return _found(await queries.get_template(connection, template_id))


async def update_template(
    services: Services, actor: Actor, template: TemplateRow, request: UpdateTemplateRequest
) -> TemplateRow | None:
    """Change what is given; what is absent stays. None where nothing differs. Raises Invalid, Conflict."""
    rules.check_template(request)
    before = {field: getattr(template, field) for field in CHANGEABLE}
    given = {field: getattr(request, field) for field in before}
    after = {field: old if given[field] is None else given[field] for field, old in before.items()}
    after["name"] = after["name"] or template.name
    fields: dict[str, Any] = dict(after)
    settings = rules.decide_settings(request, template.settings)
    old_settings = rules.decide_settings(UpdateTemplateRequest(), template.settings)
    if after == before and settings == old_settings and not request.update_workspace_last_used_at:
        return None
    async with transaction(services.pool) as connection:
        await queries.update_template(connection, template.id, settings=settings, **fields)
        if request.update_workspace_last_used_at:
            await queries.touch_workspaces(connection, template.id)
        await record(
            connection,
            actor,
            "write",
            "template",
            template.id,
            target=template.name,
            before={**before, **old_settings},
            after={**after, **settings},
            organization_id=template.organization_id,
        )
        return _found(await queries.get_template(connection, template.id))


async def promote_version(services: Services, actor: Actor, template: TemplateRow, version_id: UUID) -> None:
    """Make a version of the template the active one.

    Raises:
        NotFound: the template has no such version. PreconditionFailed: its import did not succeed.
    """
    async with transaction(services.pool) as connection:
        version = await version_queries.get_version(connection, load_present(version_id))
        if version is None or version.template_id != template.id:
            raise NotFound("The template has no such version.")
        rules.check_can_be_active(version.job.status, is_archived=version.archived)
        await queries.update_active_version(connection, template.id, version.id)
        await record(
            connection,
            actor,
            "write",
            "template",
            template.id,
            target=template.name,
            before={"active_version_id": str(template.active_version_id)},
            after={"active_version_id": str(version.id)},
            organization_id=template.organization_id,
        )


async def archive_versions(
    services: Services, actor: Actor, template: TemplateRow, *, is_every: bool
) -> list[UUID]:
    """Hide failed versions, with `is_every` all that no workspace uses. The active one stays."""
    async with transaction(services.pool) as connection:
        archived = await version_queries.archive_unused(connection, template.id, is_every=is_every)
        for version_id, name in archived:
            await record(
                connection,
                actor,
                "write",
                "template_version",
                version_id,
                target=name,
                before={"archived": False},
                after={"archived": True},
                organization_id=template.organization_id,
            )
    return [version_id for version_id, _ in archived]


async def delete_template(services: Services, actor: Actor, template: TemplateRow) -> None:
    """Remove a template from which no workspace is left.

    Raises:
        Conflict: there are workspaces.
    """
    async with transaction(services.pool) as connection:
        if not await queries.lock_template(connection, template.id):
            raise NotFound
        if count := await queries.count_workspaces(connection, template.id):
            raise Conflict(f"{count} workspace(s) were made from {template.name}. Delete them first.")
        await queries.delete_template(connection, template.id)
        await record(
            connection,
            actor,
            "delete",
            "template",
            template.id,
            target=template.name,
            before={"name": template.name},
            organization_id=template.organization_id,
        )


def _found(row: TemplateRow | None) -> TemplateRow:
    if row is None:
        raise NotFound
    return row
