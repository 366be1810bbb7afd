"""Autostart schedules between people and cron: `9:30AM Mon-Fri Europe/Berlin` ↔ `CRON_TZ=… 30 9 * * 1-5`.

Pure. Called by `list` and `schedule`.
"""

import re

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_TIME = re.compile(r"^(\d{1,2})(?::(\d{2}))?\s*(am|pm)?$", re.IGNORECASE)


class ScheduleError(ValueError):
    """The words are no schedule; the message says what would be."""


def describe_schedule(cron: str) -> str:
    """A schedule for a table; what is no weekly schedule is shown as it is."""
    zone, fields = split_zone(cron)
    if len(fields) != 5 or not (fields[0].isdigit() and fields[1].isdigit()) or fields[2:4] != ["*", "*"]:
        return cron
    days = "daily" if fields[4] == "*" else _name_days(fields[4])
    return f"{int(fields[1]):02}:{int(fields[0]):02} {days} ({zone})"


def split_zone(cron: str) -> tuple[str, list[str]]:
    """The time zone (UTC when none is named) and the cron fields."""
    fields = cron.split()
    if fields and fields[0].startswith("CRON_TZ="):
        return fields[0].removeprefix("CRON_TZ="), fields[1:]
    return "UTC", fields


def build_schedule(words: list[str], local_zone: str) -> str:
    """Cron for `9:30AM [Mon-Fri] [Europe/Berlin]`. Raises ScheduleError."""
    if not words:
        raise ScheduleError("When? Write a time as 9:30AM or 17:30.")
    rest = list(words)
    time = rest.pop(0)
    if rest and rest[0].lower() in ("am", "pm"):
        time += rest.pop(0)
    hour, minute = _parse_time(time)
    days = "*"
    if rest and _looks_like_days(rest[0]):
        days = _parse_days(rest.pop(0))
    zone = rest.pop(0) if rest else local_zone
    if rest:
        raise ScheduleError(f"{' '.join(rest)!r} is too much; write: TIME [DAYS] [TIME ZONE].")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+\-/]*", zone):
        raise ScheduleError(f"{zone!r} is no time zone; write one as Europe/Berlin.")
    return f"CRON_TZ={zone} {minute} {hour} * * {days}"


def _parse_time(text: str) -> tuple[int, int]:
    match = _TIME.match(text)
    if match is None:
        raise ScheduleError(f"{text!r} is no time; write it as 9:30AM or 17:30.")
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if (half and not 1 <= hour <= 12) or (not half and match[2] is None):
        raise ScheduleError(f"{text!r} is no time; write it as 9:30AM or 17:30.")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        raise ScheduleError(f"{text!r} is no time; write it as 9:30AM or 17:30.")
    return hour, minute


def _looks_like_days(text: str) -> bool:
    return (
        text == "*" or text.lower() == "daily" or bool(re.match(r"^[A-Za-z]{3}([,\-][A-Za-z]{3})*$|^[0-7]", text))
    )


def _parse_days(text: str) -> str:
    if text == "*" or text.lower() == "daily":
        return "*"
    numbers = {name.lower(): str(index) for index, name in enumerate(DAYS)}
    parts = re.split(r"([,\-])", text.lower())
    try:
        return "".join(
            part if part in ",-" else numbers.get(part) or str(range(7).index(int(part))) for part in parts
        )
    except ValueError:
        raise ScheduleError(f"{text!r} is no day of the week; write Mon-Fri or Sat,Sun.") from None


def _name_days(field: str) -> str:
    return re.sub(r"\d", lambda match: DAYS[int(match[0]) % 7], field)
