"""Changes of a workspace that are no build, as clients ask for them."""

from datetime import datetime

import msgspec

from devyard.wire.enums import AutomaticUpdates


class UpdateWorkspaceRequest(msgspec.Struct):
    """A new name."""

    name: str = ""


class UpdateAutostartRequest(msgspec.Struct):
    """A weekly schedule, or none."""

    schedule: str | None = None


class UpdateTTLRequest(msgspec.Struct):
    """Milliseconds until a started workspace stops by itself, or null for never."""

    ttl_ms: int | None = None


class UpdateAutomaticUpdatesRequest(msgspec.Struct):
    """Whether starts take the template's active version."""

    automatic_updates: AutomaticUpdates


class UpdateDormancyRequest(msgspec.Struct):
    """Whether the workspace is dormant."""

    dormant: bool


class ExtendRequest(msgspec.Struct):
    """The new deadline of a running workspace."""

    deadline: datetime


class ResolveAutostartResponse(msgspec.Struct):
    """Whether an automatic start would stop at parameters that need a person."""

    parameter_mismatch: bool
