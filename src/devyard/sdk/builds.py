"""Builds and their logs over a `Client`."""

import base64
from uuid import UUID

from devyard.sdk.client import Client, segment
from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.templates import ParameterValue
from devyard.wire.timings import BuildTimings
from devyard.wire.workspaces import WorkspaceBuild


def get_build(client: Client, build_id: UUID) -> WorkspaceBuild:
    """A build by id. Raises NotFound."""
    return client.get(f"/workspacebuilds/{build_id}", WorkspaceBuild)


def load_build(client: Client, owner: str, workspace: str, number: int) -> WorkspaceBuild:
    """A build by its number. Raises NotFound."""
    return client.get(f"/users/{segment(owner)}/workspace/{segment(workspace)}/builds/{number}", WorkspaceBuild)


def list_parameters(client: Client, build_id: UUID) -> list[ParameterValue]:
    """The values that a build was made with."""
    return client.get(f"/workspacebuilds/{build_id}/parameters", list[ParameterValue])


def list_logs(client: Client, build_id: UUID, after: int = 0) -> list[ProvisionerJobLog]:
    """The build's log lines after an id."""
    return client.get(f"/workspacebuilds/{build_id}/logs", list[ProvisionerJobLog], after=after or None)


def cancel_build(client: Client, build_id: UUID, expect_status: str = "") -> None:
    """Asks a build to stop, if it is still in `expect_status` (`pending` or `running`).

    Raises Forbidden where the template does not allow it, PreconditionFailed for another status.
    """
    query = f"?expect_status={expect_status}" if expect_status else ""
    client.do("PATCH", f"/workspacebuilds/{build_id}/cancel{query}")


def get_state(client: Client, build_id: UUID) -> bytes:
    """Terraform's state after a build, as it is stored."""
    return client.get_bytes(f"/workspacebuilds/{build_id}/state")


def put_state(client: Client, build_id: UUID, state: bytes, *, is_forced: bool = False) -> None:
    """Replaces a build's state; another lineage or an older serial only if forced. Raises Conflict, Forbidden."""
    body = {"state": base64.b64encode(state).decode(), "force": is_forced}
    client.do("PUT", f"/workspacebuilds/{build_id}/state", body)


def get_timings(client: Client, build_id: UUID) -> BuildTimings:
    """Where a build's time went."""
    return client.get(f"/workspacebuilds/{build_id}/timings", BuildTimings)
