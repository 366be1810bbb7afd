"""Durations as people type them: `90m`, `1h30m`, `500ms`, `2d`. Pure."""

import re
from datetime import timedelta

import click

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> timedelta | None:
    """The duration, or None where the text is none. A bare number counts seconds."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return timedelta(seconds=float(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def read_duration(text: str) -> timedelta:
    """An option's value, as Click's `type`. Raises click.BadParameter."""
    duration = parse_duration(text)
    if duration is None:
        raise click.BadParameter(f"{text!r} is no duration; write it as 90m, 1h30m or 10s.")
    return duration
