"""Terraform states in the hands of administrators: who may see one, and what may take its place.

Called by the routes of builds and by builds/create. What provisioners save goes through builds/actions.
"""

import base64
import binascii
from uuid import UUID

from devyard.server.access.rules import Actor, is_allowed
from devyard.server.audit import actions as audit
from devyard.server.builds import queries, rules, work_queries
from devyard.server.builds.queries import BuildRow
from devyard.server.builds.rules import StateHead
from devyard.server.builds.versions import is_admin
from devyard.server.db.pool import Connection, transaction
from devyard.server.services import Services
from devyard.server.workspaces.heads import lock_workspace
from devyard.wire.errors import Conflict, Forbidden, Invalid, NotFound, ValidationError


async def replace_state(
    services: Services, actor: Actor, build: BuildRow, state: bytes, *, is_forced: bool = False
) -> None:
    """Put another Terraform state in place of the latest build's; administrators only.

    Raises:
        Invalid: no Terraform state. Conflict: the build is active, not the workspace's latest, or (unless forced)
            the state is of another lineage or older than the one kept.
    """
    check_state_access(actor, build)
    head = rules.read_state(state)
    async with transaction(services.pool) as connection:
        await lock_workspace(connection, build.workspace_id)
        latest = await queries.get_latest(connection, build.workspace_id)
        if latest is None or latest.id != build.id:
            raise Conflict("Only the state of the latest build can be replaced.")
        if latest.job_status in ("pending", "running", "canceling"):
            raise Conflict("The build is still under way; wait for it or cancel it.")
        old = await check_kept(connection, build.workspace_id, build.build_number, head, is_forced=is_forced)
        await work_queries.update_state(
            connection, build.id, state=state, serial=head.serial, lineage=head.lineage
        )
        await audit.record(
            connection,
            actor,
            "write",
            "workspace_build",
            build.id,
            target=build.workspace_name,
            before={"state_serial": old[1], "state_lineage": old[0]},
            after={"state_serial": head.serial, "state_lineage": head.lineage},
            additional={"workspace_name": build.workspace_name, "forced": str(is_forced).lower()},
            organization_id=build.organization_id,
        )


def check_state_access(actor: Actor, build: BuildRow) -> None:
    """Raise unless the actor may see states, which hold secrets: administrators of templates only."""
    if not is_admin(actor, build.organization_id):
        can_read = is_allowed(
            actor, "workspace:read", owner_id=build.owner_id, organization_id=build.organization_id
        )
        if can_read:
            raise Forbidden("Terraform states hold secrets; only administrators may read or replace them.")
        raise NotFound


async def check_kept(
    connection: Connection, workspace_id: UUID, number: int, head: StateHead, *, is_forced: bool
) -> tuple[str, int]:
    """Lineage and serial of the state that another one is to replace.

    Raises:
        Conflict: the new one is of another lineage or older; `is_forced` allows that.
    """
    lineage, serial = await queries.get_newest_state_head(connection, workspace_id, number)
    problem = rules.check_successor(head, lineage, serial, allow_equal=True)
    if problem and not is_forced:
        raise Conflict(
            f"{problem} Pull the workspace's state and change that one, or send force if this is really meant."
        )
    return lineage, serial


def decode_state(text: str) -> bytes:
    """A state from base64. Raises Invalid."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        detail = "The state has to be base64."
        raise Invalid(detail, validations=[ValidationError("state", detail)]) from None
