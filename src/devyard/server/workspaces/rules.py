"""Pure decisions about workspaces: names, times to live, extensions, and what makes one unhealthy.

Called by the workspace actions and views. Invariant: no I/O, no clock.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from devyard.server.settings import ServerSettings
from devyard.wire.enums import AgentStatus, Transition
from devyard.wire.errors import BadRequest, Invalid, ValidationError
from devyard.wire.workspaces import WorkspaceHealth

MAX_NAME_LENGTH = 32
MIN_TTL_MS = 60_000
MAX_TTL_MS = 30 * 24 * 3600 * 1000
MIN_EXTENSION = timedelta(minutes=30)
ZERO_ID = UUID(int=0)

_NAME = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*")


def check_name(name: str) -> None:
    """Raise Invalid unless `name` can be a workspace's name."""
    if len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) and name != "new":
        return
    detail = (
        f"A name has 1 to {MAX_NAME_LENGTH} letters and digits; single hyphens may stand between them. "
        'The name "new" is reserved.'
    )
    raise Invalid("The name can't be used.", validations=[ValidationError(field="name", detail=detail)])


def check_ttl(ttl_ms: int | None) -> int | None:
    """A time to live as it is stored: None for none (0 counts as none).

    Raises:
        Invalid: shorter than a minute or longer than 30 days.
    """
    if not ttl_ms:
        return None
    if MIN_TTL_MS <= ttl_ms <= MAX_TTL_MS:
        return ttl_ms
    detail = f"Use {MIN_TTL_MS} (a minute) to {MAX_TTL_MS} (30 days), or null for never."
    raise Invalid("The time to live can't be used.", validations=[ValidationError(field="ttl_ms", detail=detail)])


def check_extension(
    deadline: datetime, *, now: datetime, transition: Transition, is_running: bool, max_deadline: datetime | None
) -> None:
    """Raise unless a running workspace's deadline may become `deadline`."""
    if transition != "start" or not is_running:
        raise BadRequest("Only a running workspace has a deadline; start it first.")
    problem = ""
    if deadline < now + MIN_EXTENSION:
        problem = "The new deadline has to be at least 30 minutes from now."
    elif max_deadline is not None and deadline > max_deadline:
        problem = f"The new deadline has to be before {max_deadline.isoformat()}, when the workspace must stop."
    if problem:
        raise Invalid(
            "The deadline can't be used.", validations=[ValidationError(field="deadline", detail=problem)]
        )


def absent_if_zero(value: UUID | None) -> UUID | None:
    """The id, or None where a client sends the zero UUID for "not given"."""
    return None if value == ZERO_ID else value


def decide_health(agents: Iterable[tuple[UUID, AgentStatus]]) -> WorkspaceHealth:
    """Healthy unless an agent is known to be away."""
    failing = [agent_id for agent_id, status in agents if status in ("disconnected", "timeout")]
    return WorkspaceHealth(healthy=not failing, failing_agents=failing)


def are_renames_allowed(settings: ServerSettings) -> bool:
    """Whether users may rename workspaces: off unless the operator says so, since a name may be part of what
    Terraform made."""
    return settings.allow_workspace_renames
