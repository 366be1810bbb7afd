"""Routes of builds: `/workspaces/{w}/builds`, `/workspacebuilds/{b}` and a build by its number.

Each declares its permission; the build's own workspace decides whether the actor has it.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, WebSocket, get, patch, post, put, websocket
from litestar.params import Body

from devyard.server.access.rules import Actor, check
from devyard.server.builds import cancel, create, queries, states
from devyard.server.builds.queries import BuildRow
from devyard.server.builds.timings import load_timings
from devyard.server.builds.views import build_view, resource_views
from devyard.server.http.paging import read_page
from devyard.server.jobs.logs import list_logs, send_logs
from devyard.server.jobs.matching import load_matched, load_queue
from devyard.server.services import Services
from devyard.server.workspaces.heads import get_head
from devyard.server.workspaces.owners import load_user_id
from devyard.server.workspaces.queries import get_workspace_by_name
from devyard.wire import errors
from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.templates import ParameterValue
from devyard.wire.timings import BuildTimings
from devyard.wire.workspaces import CreateBuildRequest, WorkspaceBuild, WorkspaceResource

READ = {"permission": "workspace:read"}
UPDATE = {"permission": "workspace:update"}
DEFAULT_BUILDS = 100


@get("/workspaces/{workspace_id:uuid}/builds", opt=READ)
async def list_builds(
    services: Services,
    actor: Actor,
    workspace_id: UUID,
    limit: int = 0,
    offset: int = 0,
    after_id: str = "",
    since: datetime | None = None,
) -> list[WorkspaceBuild]:
    """A workspace's builds, newest first."""
    head = await get_head(services.pool, workspace_id)
    if head is None:
        raise errors.NotFound
    check(actor, "workspace:read", owner_id=head.owner_id, organization_id=head.organization_id)
    page = read_page(limit, offset, after_id, default=DEFAULT_BUILDS)
    rows = await queries.list_builds(
        services.pool,
        workspace_id,
        limit=page.limit,
        offset=page.offset,
        after_id=page.after_id,
        since=since,
    )
    return [await _view(services, row) for row in rows]


@post("/workspaces/{workspace_id:uuid}/builds", opt=UPDATE)
async def create_build(
    services: Services, actor: Actor, workspace_id: UUID, data: CreateBuildRequest
) -> WorkspaceBuild:
    """Start, stop or delete a workspace."""
    return await _view(services, await create.create_build(services, actor, workspace_id, data))


@get("/users/{user:str}/workspace/{workspace_name:str}/builds/{number:int}", opt=READ)
async def get_build_by_number(
    services: Services, actor: Actor, user: str, workspace_name: str, number: int
) -> WorkspaceBuild:
    """A build by its workspace's name and its number."""
    owner_id = await load_user_id(services.pool, actor, user)
    row = await get_workspace_by_name(services.pool, owner_id, workspace_name, with_deleted=True)
    if row is None:
        raise errors.NotFound
    check(actor, "workspace:read", owner_id=owner_id, organization_id=row.build.organization_id)
    build = await queries.get_build_by_number(services.pool, row.id, number)
    if build is None:
        raise errors.NotFound
    return await _view(services, build)


@get("/workspacebuilds/{build_id:uuid}", opt=READ)
async def get_build(services: Services, actor: Actor, build_id: UUID) -> WorkspaceBuild:
    """One build with what it made."""
    return await _view(services, await load_readable(services, actor, build_id))


@patch("/workspacebuilds/{build_id:uuid}/cancel", opt=UPDATE)
async def cancel_build(
    services: Services, actor: Actor, build_id: UUID, expect_status: str = ""
) -> errors.Response:
    """Ask a build to end; `expect_status` leaves it alone once it is in another one."""
    build = await load_readable(services, actor, build_id)
    await cancel.cancel_build(services, actor, build, expect_status)
    return errors.Response(message="The build is being canceled.")


@get("/workspacebuilds/{build_id:uuid}/logs", opt=READ)
async def get_logs(
    services: Services, actor: Actor, build_id: UUID, after: int = 0, before: int = 0
) -> list[ProvisionerJobLog]:
    """The build's log as it is now."""
    build = await load_readable(services, actor, build_id)
    return await list_logs(services.pool, build.job.id, after=after, before=before)


@websocket("/workspacebuilds/{build_id:uuid}/logs", opt=READ)
async def follow_logs(
    socket: WebSocket[Any, Any, Any], services: Services, actor: Actor, build_id: UUID, after: int = 0
) -> None:
    """The build's log as it grows: one message a line, closed when the build has ended."""
    build = await load_readable(services, actor, build_id)
    await send_logs(socket, services, build.job.id, after=after)


@get("/workspacebuilds/{build_id:uuid}/parameters", opt=READ)
async def list_parameters(services: Services, actor: Actor, build_id: UUID) -> list[ParameterValue]:
    """The values that the build was made with."""
    build = await load_readable(services, actor, build_id)
    values = await queries.list_parameters(services.pool, build.id)
    return [ParameterValue(name=name, value=value) for name, value in values.items()]


@get("/workspacebuilds/{build_id:uuid}/resources", opt=READ)
async def list_resources(services: Services, actor: Actor, build_id: UUID) -> list[WorkspaceResource]:
    """What the build made."""
    return resource_views(await load_readable(services, actor, build_id), services.now())


@get("/workspacebuilds/{build_id:uuid}/state", opt=READ)
async def get_state(services: Services, actor: Actor, build_id: UUID) -> Response[bytes]:
    """Terraform's state as the build left it; administrators only."""
    build = await load_readable(services, actor, build_id)
    states.check_state_access(actor, build)
    state = await queries.get_newest_state(services.pool, build.workspace_id, build.build_number)
    return Response(state.state, media_type="application/json")


class PutStateRequest(msgspec.Struct):
    """A state in base64; `force` puts one of another lineage or with an older serial."""

    state: str
    force: bool = False


@put("/workspacebuilds/{build_id:uuid}/state", opt=READ, status_code=204, request_max_body_size=40 << 20)
async def put_state(
    services: Services, actor: Actor, build_id: UUID, data: Annotated[PutStateRequest, Body()]
) -> None:
    """Replace the state of a workspace's latest build; administrators only."""
    build = await load_readable(services, actor, build_id)
    states.check_state_access(actor, build)
    state = states.decode_state(data.state)
    await states.replace_state(services, actor, build, state, is_forced=data.force)


@get("/workspacebuilds/{build_id:uuid}/timings", opt=READ)
async def get_build_timings(services: Services, actor: Actor, build_id: UUID) -> BuildTimings:
    """Where the build's time went."""
    return await load_timings(services.pool, await load_readable(services, actor, build_id))


async def load_readable(services: Services, actor: Actor, build_id: UUID) -> BuildRow:
    """A build that the actor may read. Raises NotFound."""
    build = await create.load_build(services, build_id)
    check(actor, "workspace:read", owner_id=build.owner_id, organization_id=build.organization_id)
    return build


async def _view(services: Services, row: BuildRow) -> WorkspaceBuild:
    queue = await load_queue(services.pool, [row.job])
    matched = await load_matched(services.pool, row.job) if row.job.status == "pending" else None
    return build_view(row, now=services.now(), queue=queue.get(row.job.id, (0, 0)), matched=matched)


ROUTES = (
    list_builds,
    create_build,
    get_build_by_number,
    get_build,
    cancel_build,
    get_logs,
    follow_logs,
    list_parameters,
    list_resources,
    get_state,
    put_state,
    get_build_timings,
)
