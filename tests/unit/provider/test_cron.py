"""Cron expressions: what is read, and what is refused with which words."""

import pytest

from devyard.provisioner.provider.cron import MINUTE_TO_WEEKDAY, cron_with_seconds, parse_expression


@pytest.mark.parametrize(
    "text", ["0 0 22 * * *", "0 */5 * * * ?", "*/10 0-30/5 1,2,3 1-15 jan-MAR mon-fri", "", "0 30 8 * * 1-5"]
)
def test_good(text: str) -> None:
    assert cron_with_seconds(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 22 * * *", "has 5 fields; it needs 6"),
        ("60 * * * * *", 'the second "60" goes beyond 0 to 59'),
        ("0 0 x * * *", 'the hour "x" is no number'),
        ("0 0 0 5-2 * *", "ends before it begins"),
        ("0 */0 * * * *", "a step that is no positive number"),
        ("0 0 0 * foo *", 'the month "foo" is no number'),
        ("0 0 0 * * 8", "goes beyond 0 to 6"),
    ],
)
def test_bad(text: str, words: str) -> None:
    assert words in str(cron_with_seconds(text))


def test_sets() -> None:
    minutes, hours, days, months, weekdays = parse_expression(MINUTE_TO_WEEKDAY, "* 8-18/5 1 feb,dec sun")
    assert minutes == frozenset(range(60))
    assert (hours, days, months, weekdays) == ({8, 13, 18}, {1}, {2, 12}, {0})
