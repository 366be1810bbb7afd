"""Routes of repairs: `GET` tells what would be done, `POST` does exactly that."""

from uuid import UUID

from litestar import get, post

from devyard.server.access.rules import Actor
from devyard.server.builds.views import build_view
from devyard.server.repair import actions
from devyard.server.repair.rules import Wish
from devyard.server.services import Services
from devyard.wire.enums import Transition
from devyard.wire.repair import RepairPlan, RepairRequest, RepairVersion
from devyard.wire.workspaces import WorkspaceBuild

UPDATE = {"permission": "workspace:update"}
PATH = "/workspaces/{workspace_id:uuid}/repair"


@get(PATH, opt=UPDATE)
async def get_repair(
    services: Services,
    actor: Actor,
    workspace_id: UUID,
    transition: Transition | None = None,
    version: RepairVersion | None = None,
    forget: list[str] | None = None,
    leave: bool = False,
) -> RepairPlan:
    """What is wrong with a workspace and what a repair would do about it, in sentences."""
    wish = Wish(transition=transition, version=version, forget=tuple(forget or ()), leave=leave)
    return await actions.load_plan(services, actor, workspace_id, wish)


@post(PATH, opt=UPDATE)
async def post_repair(services: Services, actor: Actor, workspace_id: UUID, data: RepairRequest) -> WorkspaceBuild:
    """Carry out a repair as planned; refused where the situation has changed since. Answers the build."""
    row = await actions.repair(services, actor, workspace_id, data)
    return build_view(row, now=services.now())


routes = (get_repair, post_repair)
