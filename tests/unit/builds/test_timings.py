"""Spans of a build: what the server adds to what the provisioner reports."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from devyard.server.builds.timings import decide_spans
from devyard.server.jobs.queries import JobRow
from devyard.wire.provisionerresults import Timing

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(ms: float) -> datetime:
    """A time in milliseconds after the start."""
    return START + timedelta(milliseconds=ms)


def job(started: float | None, completed: float | None) -> JobRow:
    """A job that was made at 0."""
    return JobRow(
        id=uuid4(),
        organization_id=uuid4(),
        initiator_id=uuid4(),
        type="workspace_build",
        file_id=uuid4(),
        template_version_id=uuid4(),
        workspace_build_id=uuid4(),
        tags={},
        status="succeeded",
        error="",
        error_code="",
        worker_id=None,
        lease_id=None,
        lease_expires_at=None,
        logs_overflowed=False,
        created_at=at(0),
        started_at=None if started is None else at(started),
        canceled_at=None,
        completed_at=None if completed is None else at(completed),
    )


def shown(spans: list[Timing]) -> list[tuple[str, str, float, float]]:
    """(stage, resource, start, end) in milliseconds."""
    ms = timedelta(milliseconds=1)
    return [(s.stage, s.resource, (s.started_at - START) / ms, (s.ended_at - START) / ms) for s in spans]


def test_spans_of_a_build_follow_each_other() -> None:
    reported = [
        Timing("prepare", "provisioner", "prepare", "", at(12), at(20)),
        Timing("apply", "provisioner", "apply", "", at(20), at(100)),
        Timing("apply", "terraform", "create", "a.b", at(70), at(80)),
        Timing("apply", "terraform", "create", "a.c", at(75), at(95)),
    ]
    assert shown(decide_spans(job(5, 110), reported)) == [
        ("queue", "", 0, 5),
        ("claim", "", 5, 12),
        ("prepare", "", 12, 20),
        ("plan", "", 20, 70),
        ("apply", "a.b", 70, 80),
        ("apply", "", 70, 100),
        ("apply", "a.c", 75, 95),
        ("state", "", 100, 110),
    ]


def test_what_has_not_happened_is_left_out() -> None:
    assert decide_spans(job(None, None), []) == []
    assert shown(decide_spans(job(5, None), [])) == [("queue", "", 0, 5)]
    unchanged = [Timing("apply", "provisioner", "apply", "", at(6), at(9))]
    assert shown(decide_spans(job(5, 10), unchanged)) == [
        ("queue", "", 0, 5),
        ("claim", "", 5, 6),
        ("plan", "", 6, 9),
        ("state", "", 9, 10),
    ]


def test_clocks_that_disagree_give_no_negative_spans() -> None:
    reported = [Timing("prepare", "provisioner", "prepare", "", at(-50), at(-40))]
    spans = decide_spans(job(5, 10), reported)
    assert all(span.started_at <= span.ended_at for span in spans)
