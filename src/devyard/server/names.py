"""What people may call things: users, templates, tokens and the like. Pure, shared by all subjects."""

import re

from devyard.wire.errors import ValidationError

MAX_NAME_CHARS = 32
MAX_DISPLAY_CHARS = 64
_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")
RESERVED = frozenset({"me", "new", "create", "default-user", "none"})


def check_name(field: str, name: str, *, max_chars: int = MAX_NAME_CHARS) -> list[ValidationError]:
    """Why a name is refused; empty when it is sound."""
    if not 1 <= len(name) <= max_chars:
        return [ValidationError(field, f"Must have 1 to {max_chars} characters.")]
    if not _NAME.fullmatch(name):
        detail = "Must be letters, digits and single hyphens, with no hyphen at either end."
        return [ValidationError(field, detail)]
    if name.lower() in RESERVED:
        return [ValidationError(field, f'The name "{name}" is reserved.')]
    return []


def check_text(field: str, text: str, *, max_chars: int) -> list[ValidationError]:
    """Why a free text of one line is refused; empty when it is sound."""
    if len(text) > max_chars:
        return [ValidationError(field, f"Must have at most {max_chars} characters.")]
    if any(ord(char) < 32 for char in text.replace("\n", "").replace("\t", "")):
        return [ValidationError(field, "Must not contain control characters.")]
    return []


def check_email(field: str, email: str) -> list[ValidationError]:
    """Why an e-mail address is refused; empty when it is sound."""
    if len(email) > 254 or not _EMAIL.fullmatch(email):
        return [ValidationError(field, "Must be an e-mail address.")]
    return []
