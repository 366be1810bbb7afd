"""Repair of workspaces over a `Client`: the plan, and carrying it out."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from devyard.sdk.client import Client, encode_query, segment
from devyard.wire.enums import Transition
from devyard.wire.repair import RepairPlan, RepairRequest, RepairVersion
from devyard.wire.workspaces import WorkspaceBuild


class Wishes(msgspec.Struct, frozen=True):
    """What the plan should be other than the server's own choice."""

    transition: Transition | None = None
    version: RepairVersion | None = None
    forget: Sequence[str] = ()
    leave: bool = False


def get_plan(client: Client, workspace_id: UUID, wishes: Wishes) -> RepairPlan:
    """What is wrong and what would be done. Raises NotFound, Invalid."""
    query = encode_query(
        {"transition": wishes.transition, "version": wishes.version, "leave": wishes.leave or None}
    )
    for address in wishes.forget:
        query += f"{'&' if query else '?'}forget={segment(address)}"
    return client.get(f"/workspaces/{workspace_id}/repair{query}", RepairPlan)


def repair(
    client: Client, workspace_id: UUID, plan_id: str, wishes: Wishes, *, accepts_leaving: bool
) -> WorkspaceBuild:
    """Does what the plan says; its build. Raises Conflict, Stale when the situation has changed since."""
    request = RepairRequest(
        plan_id=plan_id,
        transition=wishes.transition,
        version=wishes.version,
        forget=list(wishes.forget),
        leave=wishes.leave,
        accepts_leaving=accepts_leaving,
    )
    return client.send("POST", f"/workspaces/{workspace_id}/repair", request, WorkspaceBuild)
