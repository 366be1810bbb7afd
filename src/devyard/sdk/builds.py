"""Builds and their logs over a `Client`."""

from uuid import UUID

import msgspec

from devyard.sdk.client import Client, segment
from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.templates import ParameterValue
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


def cancel_build(client: Client, build_id: UUID) -> None:
    """Asks a build to stop. Raises Forbidden where the template does not allow it."""
    client.do("PATCH", f"/workspacebuilds/{build_id}/cancel")


def get_state(client: Client, build_id: UUID) -> bytes:
    """Terraform's state after a build, as it is stored."""
    return client.get_bytes(f"/workspacebuilds/{build_id}/state")


class _PutState(msgspec.Struct, omit_defaults=True):
    state: bytes
    force: bool = False


def put_state(client: Client, build_id: UUID, state: bytes, *, force: bool = False) -> None:
    """Replaces a build's state; `force` takes one of another lineage or with an older serial.

    Raises Invalid, Conflict while a build is under way or for another build than the latest.
    """
    client.do("PUT", f"/workspacebuilds/{build_id}/state", _PutState(state, force))
