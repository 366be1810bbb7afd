from datetime import UTC, datetime

import pytest

from devyard.agent.scripts.cron import CronError, parse_cron


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression, after, expected",
    [
        ("* * * * * *", "2026-01-01T00:00:00", "2026-01-01T00:00:01"),
        ("*/20 * * * * *", "2026-01-01T00:00:20.500", "2026-01-01T00:00:40"),
        ("0 30 9 * * MON-FRI", "2026-11-27T10:00:00", "2026-11-30T09:30:00"),
        ("0 0 0 1 JAN *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 12 29 2 *", "2096-03-01T00:00:00", "2104-02-29T12:00:00"),
        ("0 0 0 13 * 5", "2026-11-01T00:00:00", "2026-11-06T00:00:00"),
        ("0 0 0 ? * 7", "2026-11-24T00:00:00", "2026-11-29T00:00:00"),
        ("5,10-12 0/30 8 * * *", "2026-01-01T08:00:12", "2026-01-01T08:30:05"),
        ("15 4 * * *", "2026-01-01T04:15:00", "2026-01-02T04:15:00"),
    ],
)
def test_next_time(expression: str, after: str, expected: str) -> None:
    assert parse_cron(expression).next_after(at(after)) == at(expected)


def test_a_day_that_never_comes() -> None:
    assert parse_cron("0 0 0 31 2 *").next_after(at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    "expression, field",
    [
        ("60 * * * * *", "second"),
        ("0 * 24 * * *", "hour"),
        ("0 0 0 0 * *", "day of month"),
        ("0 0 0 * FOO *", "month"),
        ("0 0 0 * * 5-2", "day of week"),
        ("*/0 * * * * *", "second"),
        ("0 ¹ * * * *", "minute"),
        ("* * *", "3 fields"),
    ],
)
def test_errors_name_the_field(expression: str, field: str) -> None:
    with pytest.raises(CronError, match=field):
        parse_cron(expression)
