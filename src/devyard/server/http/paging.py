"""Bounded paging: `limit`, `offset`, and `after_id` where a list has a cursor."""

from uuid import UUID

import msgspec

from devyard.server.http.ids import parse_id, present_id
from devyard.wire.errors import Invalid, ValidationError

MAX_LIMIT = 1000
MAX_OFFSET = 1_000_000


class Page(msgspec.Struct, frozen=True):
    """A part of a list; `limit` is at most MAX_LIMIT."""

    limit: int
    offset: int = 0
    after_id: UUID | None = None


def read_page(limit: int = 0, offset: int = 0, after_id: str = "", *, default: int = MAX_LIMIT) -> Page:
    """The page that a request asks for; a limit of 0 takes `default`, one over MAX_LIMIT is cut to it.

    Raises:
        Invalid: a negative number, an offset that is too far, or an `after_id` that is no UUID.
    """
    problems = []
    if limit < 0:
        problems.append(ValidationError("limit", "Must be 0 or more."))
    if not 0 <= offset <= MAX_OFFSET:
        problems.append(ValidationError("offset", f"Must be from 0 to {MAX_OFFSET}."))
    if problems:
        raise Invalid("The page asked for does not exist.", validations=problems)
    cursor = present_id(parse_id("after_id", after_id)) if after_id else None
    return Page(min(limit or default, MAX_LIMIT), offset, cursor)
