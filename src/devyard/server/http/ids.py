"""Ids as clients send them: texts in paths, and the zero UUID where they mean nothing at all."""

from uuid import UUID

from devyard.wire.errors import Invalid, NotFound, ValidationError

ZERO = UUID(int=0)


def present_id(value: UUID | None) -> UUID | None:
    """`value`, or None for None and for the zero UUID, which many clients send for "not set"."""
    return None if value is None or value.int == 0 else value


def parse_id(field: str, text: str) -> UUID:
    """The UUID of a path or query value.

    Raises:
        Invalid: it is not one; `field` is named.
    """
    found = read_id(text)
    if found is None:
        raise Invalid(
            f"{text[:100]!r} is not a UUID.", validations=[ValidationError(field, "Must be a valid UUID.")]
        )
    return found


def read_id(text: str) -> UUID | None:
    """The UUID that a text spells in one of the usual two forms, else None."""
    if len(text) not in (32, 36):
        return None
    try:
        return UUID(text)
    except ValueError:
        return None


def load_present(value: UUID | None) -> UUID:
    """`value` where it is set.

    Raises:
        NotFound: it is absent or zero.
    """
    found = present_id(value)
    if found is None:
        raise NotFound
    return found
