"""Repairs of workspaces over a `Client`."""

from urllib.parse import urlencode
from uuid import UUID

from devyard.sdk.client import Client
from devyard.wire.repair import RepairPlan, RepairRequest
from devyard.wire.workspaces import WorkspaceBuild


def get_plan(client: Client, workspace_id: UUID, wish: RepairRequest) -> RepairPlan:
    """What a repair would do now; the wish's `plan_id` does not matter. Raises as the server refuses it."""
    wanted: list[tuple[str, str]] = [("forget", address) for address in wish.forget]
    wanted += [
        (name, value) for name, value in (("transition", wish.transition), ("version", wish.version)) if value
    ]
    wanted += [("leave", "true")] if wish.leave else []
    query = f"?{urlencode(wanted)}" if wanted else ""
    return client.get(f"/workspaces/{workspace_id}/repair{query}", RepairPlan)


def repair(client: Client, workspace_id: UUID, request: RepairRequest) -> WorkspaceBuild:
    """Carries out exactly the plan that the request names. Raises Conflict where the situation has changed."""
    return client.send("POST", f"/workspaces/{workspace_id}/repair", request, WorkspaceBuild)
