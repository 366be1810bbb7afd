"""Writes on workspaces: making one, and changing what is not a build's.

Called by the workspace routes. Each owns its transaction, checks the permission on the very workspace, writes an
audit row and wakes the watchers.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor, check
from devyard.server.audit import actions as audit
from devyard.server.builds import queries as build_queries
from devyard.server.builds.create import insert_build
from devyard.server.builds.dynamic import decide_values, evaluate_start
from devyard.server.builds.versions import check_version, is_admin, preset_values
from devyard.server.db.pool import Connection, transaction
from devyard.server.db.wakeups import wake
from devyard.server.http.ids import present_id
from devyard.server.services import Services
from devyard.server.workspaces import rules, write_queries
from devyard.server.workspaces.heads import WorkspaceHead, lock_workspace
from devyard.server.workspaces.schedule import parse_schedule
from devyard.wire.enums import AutomaticUpdates
from devyard.wire.errors import Conflict, Forbidden, Invalid, NotFound, ValidationError
from devyard.wire.workspaces import CreateWorkspaceRequest


async def create_workspace(
    services: Services,
    actor: Actor,
    owner_id: UUID,
    request: CreateWorkspaceRequest,
    *,
    organization_id: UUID | None = None,
) -> UUID:
    """A workspace of a user with its first build.

    Raises:
        NotFound, Forbidden: by `workspace:create` for that owner, `template:use` for the template.
        Invalid: name, version, parameters, schedule or time to live. Conflict: the owner has one of that name.
    """
    rules.check_name(request.name)
    ttl_ms = rules.check_ttl(request.ttl_ms)
    if request.autostart_schedule:
        parse_schedule(request.autostart_schedule)
    async with services.pool.acquire() as connection:
        version = await _load_usable_version(connection, actor, owner_id, request)
    given = preset_values(version, request.template_version_preset_id, request.rich_parameter_values)
    evaluated = await evaluate_start(services, actor, owner_id, version, given)
    async with transaction(services.pool) as connection:
        owner = await write_queries.get_owner(connection, owner_id)
        if owner is None:
            raise NotFound
        version = await _load_usable_version(connection, actor, owner_id, request)
        if organization_id is not None and organization_id != version.organization_id:
            raise NotFound("This organization has no such template.")
        if version.organization_id not in owner.organization_ids:
            raise Forbidden(f'"{owner.username}" is no member of the template\'s organization.')
        given = preset_values(version, request.template_version_preset_id, request.rich_parameter_values)
        values = decide_values(version, evaluated, given, None, "start")
        workspace_id = uuid4()
        await write_queries.insert_workspace(
            connection,
            workspace_id=workspace_id,
            owner_id=owner_id,
            organization_id=version.organization_id,
            template_id=version.template_id or rules.ZERO_ID,
            name=request.name,
            autostart_schedule=request.autostart_schedule or None,
            ttl_ms=ttl_ms if request.ttl_ms is not None else version.default_ttl_ms or None,
            automatic_updates=request.automatic_updates or "never",
        )
        workspace = await _lock(connection, workspace_id)
        await audit.record(
            connection,
            actor,
            "create",
            "workspace",
            workspace_id,
            target=request.name,
            after={"name": request.name, "template_id": str(version.template_id), "owner_id": str(owner_id)},
            organization_id=version.organization_id,
            additional={"workspace_owner": owner.username},
        )
        await insert_build(
            connection,
            actor,
            workspace,
            version,
            transition="start",
            parameters=values,
            reason="initiator",
            preset_id=present_id(request.template_version_preset_id),
            evaluated_tags=evaluated.workspace_tags if evaluated else None,
        )
    return workspace_id


async def rename_workspace(services: Services, actor: Actor, workspace_id: UUID, name: str) -> None:
    """Give a workspace another name, where the operator allows it.

    Raises:
        Forbidden: renames are off. Invalid: the name. Conflict: it is in use, or a build is active.
    """
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        if not name or name == workspace.name:
            return
        if not rules.are_renames_allowed(services.settings):
            raise Forbidden(
                "Renaming workspaces is off on this server: a name may be part of what Terraform made. "
                "An administrator can turn it on."
            )
        rules.check_name(name)
        latest = await build_queries.get_latest(connection, workspace_id)
        if latest is not None and latest.job_status in ("pending", "running", "canceling"):
            raise Conflict("A build of this workspace is still under way; wait for it or cancel it.")
        await write_queries.update_name(connection, workspace_id, name)
        await _record(connection, actor, workspace, before={"name": workspace.name}, after={"name": name})


async def set_autostart(services: Services, actor: Actor, workspace_id: UUID, text: str | None) -> None:
    """Set or remove the schedule of automatic starts. Raises Invalid."""
    schedule = text or None
    if schedule:
        parse_schedule(schedule)
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        await write_queries.update_autostart(connection, workspace_id, schedule)
        await _record(
            connection,
            actor,
            workspace,
            before={"autostart_schedule": workspace.autostart_schedule},
            after={"autostart_schedule": schedule},
        )


async def set_ttl(services: Services, actor: Actor, workspace_id: UUID, ttl_ms: int | None) -> None:
    """Set or remove the time to live; without one a running build loses its deadline too. Raises Invalid."""
    ttl_ms = rules.check_ttl(ttl_ms)
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        await write_queries.update_ttl(connection, workspace_id, ttl_ms)
        if ttl_ms is None:
            await write_queries.clear_deadline(connection, workspace_id)
        await _record(connection, actor, workspace, before={"ttl_ms": workspace.ttl_ms}, after={"ttl_ms": ttl_ms})


async def set_automatic_updates(
    services: Services, actor: Actor, workspace_id: UUID, value: AutomaticUpdates
) -> None:
    """Whether starts take the template's active version."""
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        await write_queries.update_automatic_updates(connection, workspace_id, value)
        await _record(
            connection,
            actor,
            workspace,
            before={"automatic_updates": workspace.automatic_updates},
            after={"automatic_updates": value},
        )


async def set_favorite(services: Services, actor: Actor, workspace_id: UUID, *, is_favorite: bool) -> None:
    """Pin a workspace of one's own to the top of the list, or not. Raises Forbidden: somebody else's."""
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        if workspace.owner_id != actor.user_id:
            raise Forbidden("You can only pin workspaces of your own.")
        await write_queries.update_favorite(connection, workspace_id, is_favorite)
        await _record(
            connection,
            actor,
            workspace,
            before={"favorite": workspace.favorite},
            after={"favorite": is_favorite},
        )


async def set_dormant(services: Services, actor: Actor, workspace_id: UUID, *, is_dormant: bool) -> bool:
    """Put a workspace to sleep or wake it; answers whether that changed anything."""
    now = services.now()
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        if (workspace.dormant_at is not None) == is_dormant:
            return False
        await write_queries.update_dormant(connection, workspace_id, now if is_dormant else None, now)
        before = workspace.dormant_at.isoformat() if workspace.dormant_at else None
        after = now.isoformat() if is_dormant else None
        await _record(connection, actor, workspace, before={"dormant_at": before}, after={"dormant_at": after})
        return True


async def extend(services: Services, actor: Actor, workspace_id: UUID, deadline: datetime) -> None:
    """Move the deadline of a running workspace. Raises BadRequest, Invalid."""
    if deadline.tzinfo is None:
        detail = "The time needs a zone, for example 2026-01-31T18:00:00Z."
        raise Invalid("The deadline can't be used.", validations=[ValidationError("deadline", detail)])
    async with transaction(services.pool) as connection:
        workspace = await load_for_update(connection, actor, workspace_id)
        current = await write_queries.get_deadline(connection, workspace_id)
        rules.check_extension(
            deadline,
            now=services.now(),
            transition=current.transition,
            is_running=current.job_status == "succeeded",
            max_deadline=current.max_deadline,
        )
        await write_queries.update_deadline(connection, current.build_id, deadline)
        before = current.deadline.isoformat() if current.deadline else None
        after = {"deadline": deadline.isoformat()}
        await _record(connection, actor, workspace, before={"deadline": before}, after=after)


async def load_for_update(connection: Connection, actor: Actor, workspace_id: UUID) -> WorkspaceHead:
    """A workspace that the actor may change, locked. Raises NotFound, Forbidden."""
    workspace = await _lock(connection, workspace_id)
    check(actor, "workspace:update", owner_id=workspace.owner_id, organization_id=workspace.organization_id)
    return workspace


async def _lock(connection: Connection, workspace_id: UUID) -> WorkspaceHead:
    workspace = await lock_workspace(connection, workspace_id)
    if workspace is None:
        raise NotFound
    return workspace


async def _load_usable_version(
    connection: Connection, actor: Actor, owner_id: UUID, request: CreateWorkspaceRequest
) -> build_queries.VersionRow:
    version = await _load_version(connection, actor, request)
    check(actor, "template:use", organization_id=version.organization_id)
    check(actor, "workspace:create", owner_id=owner_id, organization_id=version.organization_id)
    return version


async def _load_version(
    connection: Connection, actor: Actor, request: CreateWorkspaceRequest
) -> build_queries.VersionRow:
    template_id, version_id = present_id(request.template_id), present_id(request.template_version_id)
    if (template_id is None) == (version_id is None):
        detail = "Give either template_id or template_version_id."
        raise Invalid(detail, validations=[ValidationError("template_id", detail)])
    if version_id is None and template_id is not None:
        version_id = await write_queries.get_active_version_id(connection, template_id)
    version = await build_queries.get_version(connection, version_id) if version_id else None
    if version is None or version.template_id is None or version.template_is_deleted:
        detail = "There is no such template, or you may not use it."
        field = "template_version_id" if template_id is None else "template_id"
        raise Invalid(detail, validations=[ValidationError(field, detail)])
    if version.deprecation_message:
        raise Forbidden(f"The template is deprecated: {version.deprecation_message}")
    if version.archived:
        raise Conflict(f'The version "{version.name}" is archived; use another one.')
    is_bound = version.require_active_version and not is_admin(actor, version.organization_id)
    if is_bound and version.id != await write_queries.get_active_version_id(connection, version.template_id):
        raise Forbidden("The template allows workspaces on its active version only.")
    return check_version(version, version.template_id)


async def _record(
    connection: Connection,
    actor: Actor,
    workspace: WorkspaceHead,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    await audit.record(
        connection,
        actor,
        "write",
        "workspace",
        workspace.id,
        target=workspace.name,
        before=before,
        after=after,
        organization_id=workspace.organization_id,
        additional={"workspace_owner": workspace.owner_name},
    )
    await wake(connection, f"workspace:{workspace.id}")
