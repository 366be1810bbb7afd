"""The `q` parameter of lists: `key:value` terms and bare words. Pure.

Terms are separated by blanks; double quotes keep blanks together; keys are lower-cased; bare words are joined
with one blank and become the list's default key. docs: the API page on filters.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from devyard.wire.errors import UnknownFilter, ValidationError

MAX_CHARS = 2000


def parse_filter(text: str, *, keys: Mapping[str, str] | frozenset[str], default: str) -> dict[str, str]:
    """The terms of `q` by key.

    `keys` are the keys that the list knows (a mapping also maps aliases to their key); a key ending in `:` in
    it, such as `param:`, takes everything after the first colon of the term as part of its name.

    Raises:
        UnknownFilter: an unknown or doubled key, a term with two colons, or an unclosed quote; names field `q`.
    """
    if len(text) > MAX_CHARS:
        raise _refuse(f"The filter is longer than {MAX_CHARS} characters.")
    found: dict[str, str] = {}
    words: list[str] = []
    for term in split_terms(text):
        key, colon, value = _partition(term)
        if not colon:
            words.append(term.replace('"', ""))
            continue
        key = key.strip('"').lower()
        known = keys.get(key, "") if isinstance(keys, Mapping) else (key if key in keys else "")
        if not known:
            raise _refuse(f'"{key}" is not a filter of this list. Known: {", ".join(sorted(keys))}.')
        if _partition(value)[1]:
            raise _refuse(f'The term "{term}" has more than one colon; put the value in double quotes.')
        if known in found:
            raise _refuse(f'The filter "{key}" stands there twice.')
        found[known] = value.replace('"', "")
    if words:
        if default in found:
            raise _refuse(f'Words without a key mean "{default}", which is given too.')
        found[default] = " ".join(words)
    return found


def split_terms(text: str) -> list[str]:
    """The terms of a filter, quotes kept."""
    terms: list[str] = []
    current, is_quoted = "", False
    for char in text:
        if char == '"':
            is_quoted = not is_quoted
        if char.isspace() and not is_quoted:
            if current:
                terms.append(current)
            current = ""
        else:
            current += char
    if is_quoted:
        raise _refuse("A double quote is not closed.")
    return [*terms, current] if current else terms


def read_flag(key: str, value: str) -> bool:
    """A filter's value as yes or no."""
    if value.lower() in ("true", "1", "yes"):
        return True
    if value.lower() in ("false", "0", "no"):
        return False
    raise _refuse(f'"{key}" takes true or false, not "{value}".')


def read_choices(key: str, value: str, allowed: frozenset[str]) -> list[str]:
    """A filter's comma-separated value, each part one of `allowed`."""
    parts = [part.strip().lower() for part in value.split(",") if part.strip()]
    for part in parts:
        if part not in allowed:
            raise _refuse(f'"{key}" does not take "{part}". Allowed: {", ".join(sorted(allowed))}.')
    return parts


def read_time(key: str, value: str) -> datetime:
    """A filter's value as a time: a date (UTC midnight) or RFC 3339."""
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise _refuse(f'"{key}" takes a date (2026-01-31) or a time (RFC 3339), not "{value}".') from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def escape_like(text: str) -> str:
    """`text` for use inside a LIKE pattern with the default escape character."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _partition(term: str) -> tuple[str, str, str]:
    """Split at the first colon that stands outside quotes."""
    is_quoted = False
    for index, char in enumerate(term):
        if char == '"':
            is_quoted = not is_quoted
        elif char == ":" and not is_quoted:
            return term[:index], ":", term[index + 1 :]
    return term, "", ""


def _refuse(detail: str) -> UnknownFilter:
    return UnknownFilter("The filter can't be understood.", validations=[ValidationError("q", detail)])
