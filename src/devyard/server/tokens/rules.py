"""The text of a token, `<10 characters id>-<22 characters secret>`, and when it ends. Pure."""

import hashlib
import hmac
import re
import secrets
import string
from datetime import datetime, timedelta
from typing import NamedTuple

from devyard.wire.errors import Invalid, ValidationError

ALPHABET = string.ascii_letters + string.digits
ID_CHARS, SECRET_CHARS = 10, 22
_TOKEN = re.compile(rf"([A-Za-z0-9]{{{ID_CHARS}}})-([A-Za-z0-9]{{{SECRET_CHARS}}})")

DEFAULT_LIFETIME = timedelta(days=7)

TOUCH_AFTER = timedelta(minutes=1)
"""A use within this time of the last recorded one is not recorded again."""


class TokenText(NamedTuple):
    """A token's two parts; only the SHA-256 of the secret (130 bits of chance) is kept."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.id}-{self.secret}"


def make_token() -> TokenText:
    """A new token."""
    return TokenText(_draw(ID_CHARS), _draw(SECRET_CHARS))


def parse_token(text: str) -> TokenText | None:
    """The parts of a token's text, or None where it can't be one."""
    match = _TOKEN.fullmatch(text)
    return TokenText(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    """What is stored in place of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret(secret: str, stored: bytes) -> bool:
    """Whether a secret is the stored one; takes the same time for every wrong one."""
    return hmac.compare_digest(hash_secret(secret), stored)


def decide_expiry(
    *, is_session: bool, expires_at: datetime, lifetime: timedelta, now: datetime
) -> datetime | None:
    """The later end of a session that is in use, or None where it stays: named tokens never slide."""
    if not is_session or now + lifetime - expires_at < TOUCH_AFTER:
        return None
    return now + lifetime


def decide_lifetime(asked_ns: int, longest: timedelta) -> timedelta:
    """The lifetime of a token that was asked for in nanoseconds; 0 takes the default.

    Raises:
        Invalid: negative, under a second, or longer than allowed.
    """
    if asked_ns == 0:
        return min(DEFAULT_LIFETIME, longest)
    if not 10**9 <= asked_ns <= longest // timedelta(microseconds=1) * 1000:
        detail = f"Must be from 1 second to {longest.total_seconds() / 3600:g} hours, in nanoseconds."
        raise Invalid("The token was refused.", validations=[ValidationError("lifetime", detail)])
    return timedelta(microseconds=asked_ns // 1000)


def _draw(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
