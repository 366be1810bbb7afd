"""Routes of workspaces.

Each declares its permission; the workspace itself decides whether the actor has it, and what may not be read
answers 404. The list is answered from `Renderer`, whose one statement carries permission and filter.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Router, WebSocket, delete, get, patch, post, put, websocket
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.response import ServerSentEvent
from litestar.response.base import ASGIResponse

from devyard.server.access.rules import Actor, check
from devyard.server.builds.timings import load_timings
from devyard.server.http.paging import read_page
from devyard.server.http.streams import send_values, stream_events
from devyard.server.services import Services
from devyard.server.workspaces import actions, queries, watching
from devyard.server.workspaces.filters import decide_conditions
from devyard.server.workspaces.owners import load_user_id
from devyard.server.workspaces.queries import WorkspaceRow
from devyard.server.workspaces.rendering import Renderer
from devyard.server.workspaces.write_queries import record_use
from devyard.wire import errors
from devyard.wire.timings import BuildTimings
from devyard.wire.workspacechanges import (
    ExtendRequest,
    ResolveAutostartResponse,
    UpdateAutomaticUpdatesRequest,
    UpdateAutostartRequest,
    UpdateDormancyRequest,
    UpdateTTLRequest,
    UpdateWorkspaceRequest,
)
from devyard.wire.workspaces import CreateWorkspaceRequest, UsageRequest, Workspace, WorkspacesPage

READ = {"permission": "workspace:read"}
CREATE = {"permission": "workspace:create"}
UPDATE = {"permission": "workspace:update"}
ONE = "/workspaces/{workspace_id:uuid}"
BUMPING_APPS = frozenset({"ssh", "vscode", "jetbrains", "reconnecting-pty"})
"""Uses that move a running workspace's deadline."""


@post("/users/{user:str}/workspaces", opt=CREATE)
async def create_for_user(
    services: Services, actor: Actor, renderer: Renderer, user: str, data: CreateWorkspaceRequest
) -> Workspace:
    """A new workspace of a user."""
    owner_id = await load_user_id(services.pool, actor, user)
    workspace_id = await actions.create_workspace(services, actor, owner_id, data)
    return await renderer.render(await load_readable(services, actor, workspace_id), actor)


@post("/organizations/{organization:str}/members/{user:str}/workspaces", opt=CREATE)
async def create_for_member(
    services: Services,
    actor: Actor,
    renderer: Renderer,
    organization: str,
    user: str,
    data: CreateWorkspaceRequest,
) -> Workspace:
    """A new workspace of an organization's member, from a template of that organization."""
    owner_id = await load_user_id(services.pool, actor, user)
    organization_id = await queries.get_organization_id(services.pool, organization)
    if organization_id is None:
        raise errors.NotFound
    workspace_id = await actions.create_workspace(services, actor, owner_id, data, organization_id=organization_id)
    return await renderer.render(await load_readable(services, actor, workspace_id), actor)


@get("/users/{user:str}/workspace/{workspace_name:str}", opt=READ)
async def get_by_name(
    services: Services,
    actor: Actor,
    renderer: Renderer,
    user: str,
    workspace_name: str,
    include_deleted: bool = False,
) -> Workspace:
    """A user's workspace by name."""
    owner_id = await load_user_id(services.pool, actor, user)
    row = await queries.get_workspace_by_name(
        services.pool, owner_id, workspace_name, with_deleted=include_deleted
    )
    return await renderer.render(_checked(actor, row), actor)


@get(ONE, opt=READ)
async def get_workspace(
    services: Services, actor: Actor, renderer: Renderer, workspace_id: UUID, include_deleted: bool = False
) -> Workspace:
    """One workspace."""
    row = await load_readable(services, actor, workspace_id)
    if row.deleted_at is not None and not include_deleted:
        raise errors.NotFound(f'The workspace "{row.name}" was deleted.')
    return await renderer.render(row, actor)


@patch(ONE, opt=UPDATE, status_code=204)
async def update_workspace(
    services: Services, actor: Actor, workspace_id: UUID, data: UpdateWorkspaceRequest
) -> None:
    """Rename a workspace."""
    await actions.rename_workspace(services, actor, workspace_id, data.name)


@put(f"{ONE}/autostart", opt=UPDATE, status_code=204)
async def put_autostart(
    services: Services, actor: Actor, workspace_id: UUID, data: UpdateAutostartRequest
) -> None:
    """Set or remove the schedule of automatic starts."""
    await actions.set_autostart(services, actor, workspace_id, data.schedule)


@put(f"{ONE}/ttl", opt=UPDATE, status_code=204)
async def put_ttl(services: Services, actor: Actor, workspace_id: UUID, data: UpdateTTLRequest) -> None:
    """Set or remove the time after which a started workspace stops."""
    await actions.set_ttl(services, actor, workspace_id, data.ttl_ms)


@put(f"{ONE}/autoupdates", opt=UPDATE, status_code=204)
async def put_automatic_updates(
    services: Services, actor: Actor, workspace_id: UUID, data: UpdateAutomaticUpdatesRequest
) -> None:
    """Whether starts take the template's active version."""
    await actions.set_automatic_updates(services, actor, workspace_id, data.automatic_updates)


@put(f"{ONE}/favorite", opt=UPDATE, status_code=204)
async def put_favorite(services: Services, actor: Actor, workspace_id: UUID) -> None:
    """Pin a workspace of one's own."""
    await actions.set_favorite(services, actor, workspace_id, is_favorite=True)


@delete(f"{ONE}/favorite", opt=UPDATE, status_code=204)
async def delete_favorite(services: Services, actor: Actor, workspace_id: UUID) -> None:
    """Unpin it."""
    await actions.set_favorite(services, actor, workspace_id, is_favorite=False)


@put(f"{ONE}/dormant", opt=UPDATE)
async def put_dormant(
    services: Services, actor: Actor, renderer: Renderer, workspace_id: UUID, data: UpdateDormancyRequest
) -> Workspace:
    """Put a workspace to sleep, or wake it."""
    await actions.set_dormant(services, actor, workspace_id, is_dormant=data.dormant)
    return await renderer.render(await load_readable(services, actor, workspace_id), actor)


@put(f"{ONE}/extend", opt=UPDATE)
async def put_extend(services: Services, actor: Actor, workspace_id: UUID, data: ExtendRequest) -> errors.Response:
    """Move the deadline of a running workspace."""
    await actions.extend(services, actor, workspace_id, data.deadline)
    return errors.Response(message=f"The workspace stops at {data.deadline.isoformat()}.")


@post(f"{ONE}/usage", opt=READ, status_code=204)
async def post_usage(
    request: Request[Any, Any, Any], services: Services, actor: Actor, workspace_id: UUID
) -> None:
    """That somebody uses the workspace now; the body may be empty."""
    body = await request.body()
    try:
        usage = msgspec.json.decode(body, type=UsageRequest) if body.strip() else UsageRequest()
    except msgspec.MsgspecError as error:
        raise errors.Invalid("The request was refused.", detail=str(error)) from None
    row = await load_readable(services, actor, workspace_id)
    check(
        actor,
        "workspace:ssh",
        owner_id=row.build.owner_id,
        organization_id=row.build.organization_id,
    )
    await record_use(services.pool, workspace_id, services.now(), usage.app_name in BUMPING_APPS)


@get(f"{ONE}/resolve-autostart", opt=READ)
async def resolve_autostart(services: Services, actor: Actor, workspace_id: UUID) -> ResolveAutostartResponse:
    """Whether the next automatic start would stop at parameters that need a person."""
    row = await load_readable(services, actor, workspace_id)
    return ResolveAutostartResponse(parameter_mismatch=await watching.has_mismatch(services, row))


@get(f"{ONE}/timings", opt=READ)
async def get_timings(services: Services, actor: Actor, workspace_id: UUID) -> BuildTimings:
    """Where the time of the latest build went."""
    return await load_timings(services.pool, (await load_readable(services, actor, workspace_id)).build)


@get(f"{ONE}/watch", opt=READ)
async def watch(services: Services, actor: Actor, renderer: Renderer, workspace_id: UUID) -> ServerSentEvent:
    """The whole workspace on every change, as server-sent events."""
    await load_readable(services, actor, workspace_id)
    return stream_events(watching.watch_workspace(services, renderer, actor, workspace_id))


@websocket(f"{ONE}/watch-ws", opt=READ)
async def watch_ws(
    socket: WebSocket[Any, Any, Any],
    services: Services,
    actor: Actor,
    renderer: Renderer,
    workspace_id: UUID,
) -> None:
    """The same as messages `{type, data}`."""
    await load_readable(services, actor, workspace_id)
    await send_values(socket, _typed(watching.watch_workspace(services, renderer, actor, workspace_id)))


async def load_readable(services: Services, actor: Actor, workspace_id: UUID) -> WorkspaceRow:
    """A workspace that the actor may read, deleted or not. Raises NotFound."""
    return _checked(actor, await queries.get_workspace(services.pool, workspace_id))


def _checked(actor: Actor, row: WorkspaceRow | None) -> WorkspaceRow:
    if row is None:
        raise errors.NotFound
    check(
        actor,
        "workspace:read",
        owner_id=row.build.owner_id,
        organization_id=row.build.organization_id,
    )
    return row


async def _typed(events: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for kind, value in events:
        yield {"type": kind, "data": value}


def make_list_route(renderer: Renderer) -> HTTPRouteHandler:
    """`GET /workspaces`, which clients poll: its handler holds the renderer and has one dependency, since the
    framework resolves several in a task group, which costs as much as the whole page.
    """

    @get(
        "/workspaces",
        opt=READ,
        responses={200: ResponseSpec(WorkspacesPage, description="A page", generate_examples=False)},
    )
    async def list_workspaces(
        actor: Actor, q: str = "", limit: int = 0, offset: int = 0, after_id: str = ""
    ) -> ASGIResponse:
        """Workspaces that the actor may read: own favourites first, then by owner and name.

        `after_id` continues behind a workspace: pages by it neither repeat nor skip what is there all the time.
        """
        page = read_page(limit, offset, after_id)
        body = await renderer.render_page(actor, decide_conditions(q, user_id=actor.user_id), page)
        return ASGIResponse(body=body, media_type="application/json")

    return list_workspaces


def make_router(renderer: Renderer) -> Router:
    """The routes with what they share."""

    async def provide_renderer() -> Renderer:
        return renderer

    return Router(
        "/",
        dependencies={"renderer": Provide(provide_renderer, use_cache=True)},
        route_handlers=[
            make_list_route(renderer),
            create_for_user,
            create_for_member,
            get_by_name,
            get_workspace,
            update_workspace,
            put_autostart,
            put_ttl,
            put_automatic_updates,
            put_favorite,
            delete_favorite,
            put_dormant,
            put_extend,
            post_usage,
            resolve_autostart,
            get_timings,
            watch,
            watch_ws,
        ],
    )
