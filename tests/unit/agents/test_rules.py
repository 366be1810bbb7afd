"""Statuses, lifecycle steps, admissions and departures of agents."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from devyard.server.agents import rules
from devyard.server.agents.rules import AgentTimes, TokenHolder
from devyard.server.agents.store import cut

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD, NEW = UUID(int=1), UUID(int=2)


def ago(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOW - timedelta(seconds=seconds)


def times(
    created: float, first: float | None, last: float | None, gone: float | None, timeout: int = 120
) -> AgentTimes:
    return AgentTimes(
        created_at=NOW - timedelta(seconds=created),
        connection_timeout_s=timeout,
        first_connected_at=ago(first),
        last_connected_at=ago(last),
        disconnected_at=ago(gone),
    )


@pytest.mark.parametrize(
    ("given", "status", "until_s"),
    [
        (times(10, None, None, None), "connecting", 110),
        (times(121, None, None, None), "timeout", None),
        (times(9999, None, None, None, timeout=0), "connecting", None),
        (times(60, 50, 5, None), "connected", 25),
        (times(60, 50, 31, None), "disconnected", None),
        (times(60, 50, 5, 5), "disconnected", None),
        (times(60, 50, 5, 20), "connected", 25),
    ],
)
def test_status(given: AgentTimes, status: str, until_s: int | None) -> None:
    assert rules.decide_status(given, NOW) == status
    until = rules.decide_status_until(given, NOW)
    assert until == (None if until_s is None else NOW + timedelta(seconds=until_s))
    if until is not None:
        assert rules.decide_status(given, until + timedelta(seconds=1)) != status


def test_steps() -> None:
    assert rules.can_enter("created", "starting")
    assert rules.can_enter("ready", "ready")
    assert rules.can_enter("off", "starting")
    assert not rules.can_enter("ready", "created")
    assert not rules.can_enter("created", "shutdown_error")
    assert not rules.can_enter("off", "ready")


def holder(
    build: UUID, transition: str = "start", job: str = "succeeded", *, deleted: bool = False
) -> TokenHolder:
    return TokenHolder(
        agent_id=uuid4(),
        build_id=build,
        workspace_id=uuid4(),
        is_deleted=deleted,
        latest_build_id=NEW,
        latest_transition=transition,  # type: ignore[arg-type]
        latest_job_status=job,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("found", "is_active", "verdict", "status"),
    [
        (None, True, "hold", 0),
        (None, False, "refuse", 401),
        (holder(NEW), False, "admit", 0),
        (holder(OLD), True, "refuse", 403),
        (holder(OLD, "stop", "running"), True, "refuse", 403),
        (holder(OLD, "start", "running"), True, "hold", 0),
        (holder(OLD, "start", "failed"), False, "refuse", 403),
        (holder(NEW, deleted=True), False, "refuse", 403),
    ],
)
def test_admission(found: TokenHolder | None, is_active: bool, verdict: str, status: int) -> None:
    admission = rules.decide_admission(found, is_any_build_active=is_active)
    assert (admission.verdict, admission.status) == (verdict, status)
    assert bool(admission.message) == (verdict == "refuse")


@pytest.mark.parametrize(
    ("build", "transition", "job", "is_kept", "departure"),
    [
        (NEW, "start", "succeeded", True, "stay"),
        (OLD, "stop", "pending", False, "stay"),
        (OLD, "stop", "running", False, "shutdown"),
        (OLD, "delete", "succeeded", False, "shutdown"),
        (OLD, "stop", "failed", False, "stay"),
        (OLD, "start", "running", False, "stay"),
        (OLD, "start", "succeeded", False, "shutdown"),
        (OLD, "start", "succeeded", True, "reconnect"),
    ],
)
def test_departure(build: UUID, transition: str, job: str, is_kept: bool, departure: str) -> None:
    found = rules.decide_departure(
        build,
        latest_build_id=NEW,
        transition=transition,  # type: ignore[arg-type]
        job_status=job,  # type: ignore[arg-type]
        is_token_in_latest=is_kept,
    )
    assert found == departure


def test_cut() -> None:
    assert cut("a\0b", 10) == "ab"
    assert cut("ä" * 10, 5) == "ää"
    assert cut("x" * 2000, 1024) == "x" * 1024
