"""Cron expressions with seconds: `second minute hour day-of-month month day-of-week`. Pure.

Each field: `*` or `?`, numbers, names (JAN, MON), ranges, steps, lists. Day of month and day of week: when
both are restricted either may match (as cron(5) says). Five fields mean second 0.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES)}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_HORIZON_DAYS = 366 * 9
"""The 29th of February comes back within eight years, even around a year like 2100."""


class CronError(ValueError):
    """The expression is malformed; the message names the field."""


@dataclass(frozen=True)
class Cron:
    """A parsed expression: the values each field allows."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_any_day_enough: bool

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time after `moment`, in its time zone; None when it never comes."""
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = start.replace(hour=0, minute=0, second=0)
        for offset in range(_HORIZON_DAYS):
            current = day + timedelta(days=offset)
            if not self._matches_day(current):
                continue
            found = self._first_of_day(current, start if offset == 0 else current)
            if found is not None:
                return found
        return None

    def _matches_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.is_any_day_enough else in_month and in_week

    def _first_of_day(self, day: datetime, start: datetime) -> datetime | None:
        for hour in self.hours:
            if hour < start.hour:
                continue
            for minute in self.minutes:
                for second in self.seconds:
                    if (hour, minute, second) >= (start.hour, start.minute, start.second):
                        return day.replace(hour=hour, minute=minute, second=second)
        return None


def parse_cron(text: str) -> Cron:
    """Parses an expression. Raises CronError."""
    parts = text.split()
    if len(parts) == 5:
        parts.insert(0, "0")
    if len(parts) != 6:
        raise CronError(f"{text!r} has {len(parts)} fields, not six (second first) or five")
    fields = [_parse_field(part, *limits) for part, limits in zip(parts, _FIELDS, strict=True)]
    second, minute, hour, days, months, weekdays = fields
    return Cron(
        tuple(sorted(second)),
        tuple(sorted(minute)),
        tuple(sorted(hour)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        not parts[3].startswith(("*", "?")) and not parts[5].startswith(("*", "?")),
    )


def _parse_field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = int(step_text) if step_text.isdigit() else 0
        if slash and step < 1:
            raise CronError(f"{part!r} is no step for the {name}")
        if span in ("*", "?"):
            first, last = low, high
        else:
            first_text, dash, last_text = span.partition("-")
            first = _parse_value(first_text, name, low, high, names)
            last = _parse_value(last_text, name, low, high, names) if dash else (high if slash else first)
        if first > last:
            raise CronError(f"{span!r} runs backwards in the {name}")
        values.update(range(first, last + 1, step or 1))
    return frozenset(values)


def _parse_value(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(text.upper(), int(text) if text.isascii() and text.isdigit() else -1)
    if not low <= value <= high:
        raise CronError(f"{text!r} is no {name} ({low} to {high})")
    return value
