"""Checks of single attribute values, each a small function that answers with a sentence or None.

The tables of the resource and data source files name them; they see known, non-null values only.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from devyard.provisioner.provider.schema import Check


def one_of(*allowed: str) -> Check:
    """The value is one of the words given."""

    def check(value: Any) -> str | None:
        return None if value in allowed else f'"{value}" is not allowed; use {either(allowed)}.'

    return check


def at_most_characters(limit: int) -> Check:
    """The text is no longer than `limit` characters."""

    def check(value: Any) -> str | None:
        return None if len(value) <= limit else f"{len(value)} characters are too many; at most {limit} fit."

    return check


def whole_number(low: int | None = None, high: int | None = None) -> Check:
    """An integer, within the bounds given."""

    def check(value: Any) -> str | None:
        if value != int(value):
            return f"{value} is not a whole number."
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"from {low} to {high}" if high is not None else f"{low} or more"
            return f"{value} is not allowed; use {bounds}."
        return None

    return check


def not_empty(value: Any) -> str | None:
    """The text holds something other than spaces."""
    return None if value.strip() else "it can't be empty."


def absolute_path(value: Any) -> str | None:
    """An absolute path, of a POSIX system or of Windows (`C:\\…`)."""
    if value.startswith("/") or re.match(r"^[A-Za-z]:[\\/]", value):
        return None
    return f'"{value}" is not an absolute path.'


def environment_name(value: Any) -> str | None:
    """A name that a POSIX shell takes for a variable."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return None
    return f'"{value}" is not the name of an environment variable; use letters, digits and _, no digit first.'


def app_slug(value: Any) -> str | None:
    """Lower-case letters and digits with single hyphens inside: it becomes part of a host name."""
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        return None
    return f'"{value}" is not a slug; use lower-case letters and digits, with single hyphens between them.'


def link(value: Any) -> str | None:
    """A URL or a path of the dashboard; empty counts as none."""
    try:
        urlsplit(value)
    except ValueError as error:
        return f'"{value}" is not a URL: {error}.'
    return None


def either(choices: Sequence[str]) -> str:
    """The choices as they stand in a sentence: `"a", "b" or "c"`."""
    quoted = [f'"{choice}"' for choice in choices]
    return " or ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)
