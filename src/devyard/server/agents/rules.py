"""Pure decisions about agents: status from times, allowed lifecycle steps, who may connect, who has to go.

Called by the agent link, the views and the queries' tests. `STATUS_SQL` in queries.py says the same as
`decide_status`; a database test holds the two together.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.enums import AgentLifecycle, AgentStatus, JobStatus, Transition
from devyard.wire.workspaces import AgentHealth

AWAY_AFTER_S = 30
"""An agent that was not heard of for so long counts as disconnected."""

_ENDED = ("ready", "start_error", "start_timeout")

# State → states that may follow. An agent process can be restarted at any time, hence `starting` everywhere.
STEPS: Mapping[AgentLifecycle, tuple[AgentLifecycle, ...]] = {
    "created": ("starting", "ready", "start_error", "start_timeout", "shutting_down"),
    "starting": ("start_timeout", "start_error", "ready", "shutting_down", "off"),
    "start_timeout": ("starting", "start_error", "ready", "shutting_down", "off"),
    "start_error": ("starting", "ready", "shutting_down", "off"),
    "ready": ("starting", "shutting_down", "off"),
    "shutting_down": ("starting", "shutdown_timeout", "shutdown_error", "off"),
    "shutdown_timeout": ("starting", "shutdown_error", "off"),
    "shutdown_error": ("starting", "off"),
    "off": ("starting",),
}


def can_enter(current: AgentLifecycle, following: AgentLifecycle) -> bool:
    """Whether an agent may say that it goes from one state to another; the same one again is fine."""
    return following == current or following in STEPS[current]


def is_start_ended(state: AgentLifecycle) -> bool:
    """Whether startup scripts are through, well or not."""
    return state in _ENDED


class AgentTimes(msgspec.Struct, frozen=True):
    """What an agent's status follows from. `connection_timeout_s` 0 means that it may take for ever."""

    created_at: datetime
    connection_timeout_s: int
    first_connected_at: datetime | None
    last_connected_at: datetime | None
    disconnected_at: datetime | None


def decide_status(times: AgentTimes, now: datetime) -> AgentStatus:
    """Where an agent is, as far as one can know."""
    if times.first_connected_at is None or times.last_connected_at is None:
        limit = timedelta(seconds=times.connection_timeout_s)
        return "timeout" if limit and now - times.created_at > limit else "connecting"
    if times.disconnected_at is not None and times.disconnected_at >= times.last_connected_at:
        return "disconnected"
    if now - times.last_connected_at > timedelta(seconds=AWAY_AFTER_S):
        return "disconnected"
    return "connected"


def decide_status_until(times: AgentTimes, now: datetime) -> datetime | None:
    """Until when the status stays as it is if nothing is heard; None: for ever."""
    status = decide_status(times, now)
    if status == "connecting" and times.connection_timeout_s:
        return times.created_at + timedelta(seconds=times.connection_timeout_s)
    if status == "connected" and times.last_connected_at:
        return times.last_connected_at + timedelta(seconds=AWAY_AFTER_S)
    return None


def decide_health(status: AgentStatus, lifecycle: AgentLifecycle) -> AgentHealth:
    """Whether people can work there, and if not, why."""
    reasons = {
        "connecting": "The agent has not connected yet.",
        "timeout": "The agent did not connect in time.",
        "disconnected": "The agent has lost its connection.",
    }
    if status != "connected":
        return AgentHealth(healthy=False, reason=reasons[status])
    if lifecycle in ("created", "starting"):
        return AgentHealth(healthy=False, reason="The agent is still running its startup scripts.")
    if lifecycle in ("start_error", "start_timeout"):
        return AgentHealth(healthy=False, reason="A startup script failed or takes too long.")
    if lifecycle in ("shutting_down", "shutdown_timeout", "shutdown_error", "off"):
        return AgentHealth(healthy=False, reason="The agent is shutting down.")
    return AgentHealth(healthy=True)


class TokenHolder(msgspec.Struct, frozen=True):
    """The agent that a token belongs to (of the newest build that has the token), and its workspace now."""

    agent_id: UUID
    build_id: UUID
    workspace_id: UUID
    is_deleted: bool
    latest_build_id: UUID
    latest_transition: Transition
    latest_job_status: JobStatus


class Admission(msgspec.Struct, frozen=True):
    """What becomes of an agent's dial: let in, held until a build ends, or refused with a status."""

    verdict: Literal["admit", "hold", "refuse"]
    status: int = 0
    message: str = ""


def decide_admission(holder: TokenHolder | None, *, is_any_build_active: bool) -> Admission:
    """Let an agent in, hold it while a build may still make it known, or send it away."""
    if holder is None:
        if is_any_build_active:
            return Admission("hold")
        return Admission("refuse", 401, "No agent has this token. Rebuild the workspace to get a new one.")
    if holder.is_deleted:
        return Admission("refuse", 403, "The workspace of this agent was deleted.")
    if holder.build_id == holder.latest_build_id:
        return Admission("admit")
    if holder.latest_transition == "start" and holder.latest_job_status in ("pending", "running", "canceling"):
        return Admission("hold")
    return Admission("refuse", 403, "This agent belongs to an older build; only the latest build's may connect.")


Departure = Literal["stay", "reconnect", "shutdown"]


def decide_departure(
    build_id: UUID,
    *,
    latest_build_id: UUID,
    transition: Transition,
    job_status: JobStatus,
    is_token_in_latest: bool,
) -> Departure:
    """What a connected agent has to do, given its workspace's latest build.

    An agent whose process the new build kept (same token) only has to dial again, to become the new one.
    A build that has not begun yet, or failed or was canceled, moves nobody.
    """
    if build_id == latest_build_id:
        return "stay"
    if transition in ("stop", "delete"):
        return "shutdown" if job_status in ("running", "succeeded") else "stay"
    if job_status != "succeeded":
        return "stay"
    return "reconnect" if is_token_in_latest else "shutdown"
