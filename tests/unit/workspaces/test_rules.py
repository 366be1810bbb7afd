"""Names, schedules, extensions and filters of workspaces."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from devyard.server.workspaces import filters, rules
from devyard.server.workspaces.schedule import find_next, parse_schedule
from devyard.wire.errors import BadRequest, Invalid, UnknownFilter

NOW = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize("name", ["a", "dev", "Dev-1", "a-b-c", "0", "x" * 32])
def test_good_names(name: str) -> None:
    rules.check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a--b", "a b", "ä", "a_b", "a.b", "x" * 33, "new", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Invalid):
        rules.check_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CRON_TZ=UTC 30 9 * * 1-5", "2026-03-30T09:30:00+00:00"),
        ("CRON_TZ=UTC 30 12 * * *", "2026-03-27T12:30:00+00:00"),
        ("0 12 * * fri", "2026-04-03T12:00:00+00:00"),
        ("0 9 * * 0", "2026-03-29T09:00:00+00:00"),
        ("0 9 * * 7", "2026-03-29T09:00:00+00:00"),
        ("*/15 8-18/2 * * MON,WED", "2026-03-30T08:00:00+00:00"),
        # Europe/Berlin changes to summer time on Sunday the 29th: 9:00 is 8:00 UTC before and 7:00 after.
        ("CRON_TZ=Europe/Berlin 0 9 * * sat", "2026-03-28T08:00:00+00:00"),
        ("CRON_TZ=Europe/Berlin 0 9 * * mon", "2026-03-30T07:00:00+00:00"),
    ],
)
def test_next(text: str, expected: str) -> None:
    assert find_next(parse_schedule(text), NOW).isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9 * * *",
        "0 9 1 * *",
        "0 9 * 1 *",
        "60 9 * * *",
        "0 24 * * *",
        "0 9 * * 8",
        "0 9 * * x",
        "5-1 9 * * *",
        "CRON_TZ=Nowhere/Land 0 9 * * *",
        "CRON_TZ=../../etc/passwd 0 9 * * *",
        "0 9 * * 1,",
        "*/0 9 * * *",
        "x" * 300,
    ],
)
def test_bad_schedules(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_schedule(text)
    assert caught.value.validations[0].field == "schedule"


@pytest.mark.parametrize(("ttl_ms", "kept"), [(None, None), (0, None), (60_000, 60_000)])
def test_ttl(ttl_ms: int | None, kept: int | None) -> None:
    assert rules.check_ttl(ttl_ms) == kept


@pytest.mark.parametrize("ttl_ms", [-1, 59_999, 10**12])
def test_bad_ttl(ttl_ms: int) -> None:
    with pytest.raises(Invalid):
        rules.check_ttl(ttl_ms)


def test_extension() -> None:
    def check(minutes: int, *, is_running: bool = True, limit: datetime | None = None) -> None:
        deadline = NOW + timedelta(minutes=minutes)
        rules.check_extension(deadline, now=NOW, transition="start", is_running=is_running, max_deadline=limit)

    check(31)
    for arguments in ({"minutes": 29}, {"minutes": 90, "limit": NOW + timedelta(hours=1)}):
        with pytest.raises(Invalid):
            check(**arguments)  # type: ignore[arg-type]
    with pytest.raises(BadRequest):
        check(31, is_running=False)


def test_health() -> None:
    good, away = uuid4(), uuid4()
    assert rules.decide_health([(good, "connected"), (uuid4(), "connecting")]).healthy
    assert rules.decide_health([(good, "connected"), (away, "timeout")]).failing_agents == [away]


def test_filters_never_mix_text_into_sql() -> None:
    evil = "x'); DROP TABLE users; --"
    me = UUID(int=1)
    for key in ("owner", "template", "name", "organization"):
        [condition] = filters.decide_conditions(f'{key}:"{evil}"', user_id=me)
        assert "DROP" not in condition.sql
        assert any("DROP" in str(value) for value in condition.values)
    [condition] = filters.decide_conditions('param:"a=b"', user_id=me)
    assert list(condition.values) == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["status:nope", "healthy:maybe", "last_used_after:soon", "zzz:1", "param:", "id:x"]
)
def test_refused_filters(text: str) -> None:
    with pytest.raises((UnknownFilter, Invalid)):
        filters.decide_conditions(text, user_id=UUID(int=1))
