"""Pure decisions about users: passwords, names, roles, and what keeps a deployment from losing its last owner."""

from collections.abc import Sequence
from uuid import UUID

from devyard.server.access.rules import MEMBER, OWNER
from devyard.server.names import check_email, check_name, check_text
from devyard.wire.errors import Conflict, Invalid, ValidationError
from devyard.wire.identity import CreateFirstUserRequest, CreateUserRequest

MIN_PASSWORD, MAX_PASSWORD = 8, 128
SITE_ROLES = {OWNER: "Owner"}
"""Roles that can be given, with the name people see; `member` is what everyone is."""

_COMMON = frozenset(
    {"password", "12345678", "123456789", "qwertyui", "iloveyou", "letmein1", "changeme", "admin123"}
)
NO_PASSWORD = frozenset({"none", "token"})


def check_password(password: str, *taken: str) -> str:
    """Why a password is refused, or an empty text; `taken` are texts that it must not repeat (name, e-mail)."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        return f"Must have {MIN_PASSWORD} to {MAX_PASSWORD} characters."
    if len(set(password)) < 5 or password.lower() in _COMMON:
        return "Is too easy to guess; take a longer one with different characters."
    if password.lower() in {text.lower() for text in taken if text}:
        return "Must not be the user name or the e-mail address."
    return ""


def check_new_user(request: CreateUserRequest | CreateFirstUserRequest, *, needs_password: bool) -> None:
    """Refuse a new user whose fields are not sound.

    Raises:
        Invalid: names each field.
    """
    problems = [
        *check_email("email", request.email),
        *check_name("username", request.username),
        *check_text("name", request.name, max_chars=128),
    ]
    detail = check_password(request.password, request.username, request.email) if needs_password else ""
    if detail:
        problems.append(ValidationError("password", detail))
    if not needs_password and request.password:
        problems.append(ValidationError("password", "A user of this login type has no password."))
    if problems:
        raise Invalid("The user was refused.", validations=problems)


def decide_roles(roles: Sequence[str]) -> list[str]:
    """The roles to store: known ones, once each, without `member`.

    Raises:
        Invalid: an unknown role.
    """
    unknown = [role for role in roles if role not in SITE_ROLES and role != MEMBER]
    if unknown:
        detail = f'There is no role "{unknown[0]}". Known: {", ".join(SITE_ROLES)}.'
        raise Invalid("The roles were refused.", validations=[ValidationError("roles", detail)])
    return sorted({role for role in roles if role != MEMBER})


def check_owner_remains(owners: Sequence[UUID], leaving: UUID) -> None:
    """Refuse to lose the last active owner.

    Raises:
        Conflict: `leaving` is the only one of `owners`.
    """
    if list(owners) == [leaving]:
        raise Conflict("This is the last owner. Give another user the role owner first.")
