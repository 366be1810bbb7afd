"""Weekly schedules: `CRON_TZ=Europe/Berlin 30 9 * * 1-5`, minute, hour and weekdays; the rest has to be `*`.

Called by the workspace rules and views. Pure: parse a text, find the next time. Times of the named zone; an hour
that a change to summer time skips starts at the first minute after it.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from devyard.wire.errors import Invalid, ValidationError

MAX_LENGTH = 200
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Schedule(msgspec.Struct, frozen=True):
    """When something happens each week; days count from Sunday (0)."""

    zone: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]


def parse_schedule(text: str) -> Schedule:
    """The schedule that a text means.

    Raises:
        Invalid: with a validation on `schedule` that says what is wrong.
    """
    if len(text) > MAX_LENGTH:
        raise _refuse(f"A schedule has at most {MAX_LENGTH} characters.")
    fields = text.split()
    zone = "UTC"
    if fields and fields[0].startswith(("CRON_TZ=", "TZ=")):
        zone = fields.pop(0).partition("=")[2]
    if len(fields) != 5:
        raise _refuse('Write minute, hour, "*", "*" and weekdays, for example "CRON_TZ=UTC 30 9 * * 1-5".')
    if fields[2] != "*" or fields[3] != "*":
        raise _refuse('Schedules are weekly: day of month and month have to be "*".')
    _load_zone(zone)
    days = {day % 7 for day in _parse_field(fields[4], 0, 7, "weekday", DAYS)}
    minutes = _parse_field(fields[0], 0, 59, "minute")
    hours = _parse_field(fields[1], 0, 23, "hour")
    return Schedule(zone=zone, minutes=minutes, hours=hours, days=frozenset(days))


def find_next(schedule: Schedule, after: datetime) -> datetime:
    """The first time of the schedule that is later than `after` (aware); in UTC."""
    zone = _load_zone(schedule.zone)
    local = after.astimezone(zone)
    for offset in range(9):
        day = (local + timedelta(days=offset)).date()
        if (day.weekday() + 1) % 7 not in schedule.days:
            continue
        for hour in schedule.hours:
            for minute in schedule.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                found = wall.astimezone(UTC)
                if found > after:
                    return found
    raise AssertionError("a schedule has at least one time in each week")


def _load_zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise _refuse(f'"{name}" is no time zone; use a name such as "Europe/Berlin" or "UTC".') from None


def _parse_field(text: str, low: int, high: int, what: str, names: tuple[str, ...] = ()) -> tuple[int, ...]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _parse_number(step_text, 1, high, what, ()) if slash else 1
        if span == "*":
            first, last = low, min(high, 6) if names else high
        else:
            start, dash, end = span.partition("-")
            first = _parse_number(start, low, high, what, names)
            last = _parse_number(end, low, high, what, names) if dash else (high if slash else first)
        if last < first:
            raise _refuse(f'"{part}" is no range of {what}s.')
        values.update(range(first, last + 1, step))
    return tuple(sorted(values))


def _parse_number(text: str, low: int, high: int, what: str, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower())
    if text.isascii() and text.isdigit() and len(text) <= 3 and low <= int(text) <= high:
        return int(text)
    raise _refuse(f'"{text}" is no {what}; use {low} to {high}.')


def _refuse(detail: str) -> Invalid:
    return Invalid("The schedule can't be used.", validations=[ValidationError(field="schedule", detail=detail)])
