"""Cron expressions of templates: checked when Terraform plans, so that an author hears of a mistake at once.

Fields are lists of `*`, numbers, names and ranges with steps, as cron(5) has them; `parse_field` gives the
set of numbers, which the preset rules compare.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class CronField(NamedTuple):
    """What one field may hold; `names` count from `low`."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

MINUTE_TO_WEEKDAY = (
    CronField("minute", 0, 59),
    CronField("hour", 0, 23),
    CronField("day of month", 1, 31),
    CronField("month", 1, 12, _MONTHS),
    CronField("day of week", 0, 6, _DAYS),
)
SECOND_TO_WEEKDAY = (CronField("second", 0, 59), *MINUTE_TO_WEEKDAY)


def parse_field(field: CronField, text: str) -> frozenset[int]:
    """The numbers that a field stands for. Raises ValueError with a clause that says what is wrong."""
    numbers: set[int] = set()
    for part in text.split(","):
        numbers.update(_parse_part(field, part))
    return frozenset(numbers)


def parse_expression(fields: Sequence[CronField], text: str) -> tuple[frozenset[int], ...]:
    """The sets of numbers of all fields. Raises ValueError with a sentence."""
    parts = text.split()
    if len(parts) != len(fields):
        titles = ", ".join(field.title for field in fields)
        raise ValueError(f'"{text}" has {len(parts)} fields; it needs {len(fields)}: {titles}.')
    parsed = []
    for field, part in zip(fields, parts, strict=True):
        try:
            parsed.append(parse_field(field, part))
        except ValueError as error:
            raise ValueError(f'"{text}": the {field.title} "{part}" {error}.') from None
    return tuple(parsed)


def cron_with_seconds(value: Any) -> str | None:
    """Check of `script.cron`: six fields, seconds first; empty counts as none."""
    try:
        if value:
            parse_expression(SECOND_TO_WEEKDAY, value)
    except ValueError as error:
        return str(error)
    return None


def _parse_part(field: CronField, part: str) -> range:
    span, has_step, step_text = part.partition("/")
    if has_step and not (step_text.isdecimal() and int(step_text) > 0):
        raise ValueError("has a step that is no positive number")
    if span in ("*", "?"):
        low, high = field.low, field.high
    else:
        first, is_range, last = span.partition("-")
        low = _parse_number(field, first)
        high = _parse_number(field, last) if is_range else (field.high if has_step else low)
    if low > high:
        raise ValueError("has a range that ends before it begins")
    return range(low, high + 1, int(step_text) if has_step else 1)


def _parse_number(field: CronField, text: str) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    if not text.isdecimal() or not field.low <= int(text) <= field.high:
        raise ValueError(f"goes beyond {field.low} to {field.high}" if text.isdecimal() else "is no number")
    return int(text)
