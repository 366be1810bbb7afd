"""Where the time of builds went, over a `Client`."""

from uuid import UUID

from devyard.sdk.client import Client
from devyard.wire.workspaces import BuildTimings


def get_timings(client: Client, build_id: UUID) -> BuildTimings:
    """The spans of one build."""
    return client.get(f"/workspacebuilds/{build_id}/timings", BuildTimings)
