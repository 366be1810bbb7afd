"""Pure decisions about templates: names, settings, and what a version must be to become active."""

import re
import secrets
from typing import Any

from devyard.server.names import MAX_DISPLAY_CHARS, check_name, check_text
from devyard.wire.errors import Invalid, PreconditionFailed, ValidationError
from devyard.wire.templates import CreateTemplateRequest, UpdateTemplateRequest, VariableValue

MAX_VERSION_NAME_CHARS = 64
MAX_MESSAGE_CHARS = 1024
MAX_VARIABLES = 500
MAX_TTL_MS = 30 * 24 * 3600 * 1000
PORT_SHARE_LEVELS = ("owner", "authenticated", "organization", "public")
_VERSION_NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FIRST = ("brisk", "calm", "clear", "deft", "eager", "fair", "keen", "kind", "lucid", "noble", "quick", "solid")
_SECOND = (
    "alder",
    "birch",
    "brook",
    "cedar",
    "cliff",
    "fern",
    "grove",
    "hazel",
    "heron",
    "lark",
    "maple",
    "otter",
)


def make_version_name() -> str:
    """A name for a version that was given none."""
    return f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{secrets.randbelow(9000) + 1000}"


def check_version_name(name: str) -> list[ValidationError]:
    """Why a version's name is refused; empty when it is sound."""
    if len(name) > MAX_VERSION_NAME_CHARS or not _VERSION_NAME.fullmatch(name):
        detail = "Must be letters and digits, joined by single dots, hyphens or underscores, at most 64 in all."
        return [ValidationError("name", detail)]
    return []


def check_variables(values: list[VariableValue]) -> list[ValidationError]:
    """Why variable values are refused; empty when they are sound."""
    if len(values) > MAX_VARIABLES:
        return [ValidationError("user_variable_values", f"At most {MAX_VARIABLES} are taken.")]
    bad = [value.name for value in values if not _VARIABLE_NAME.fullmatch(value.name) or "\0" in value.value]
    return [
        ValidationError("user_variable_values", f'"{name[:60]}" is not a variable\'s name.') for name in bad[:5]
    ]


def check_template(request: CreateTemplateRequest | UpdateTemplateRequest) -> None:
    """Refuse a template whose fields are not sound.

    Raises:
        Invalid: names each field.
    """
    problems: list[ValidationError] = []
    if request.name is not None and request.name != "":
        problems += check_name("name", request.name)
    elif isinstance(request, CreateTemplateRequest):
        problems.append(ValidationError("name", "Is required."))
    problems += check_text("display_name", request.display_name or "", max_chars=MAX_DISPLAY_CHARS)
    problems += check_text("description", request.description or "", max_chars=128 * 1024)
    problems += check_text("icon", request.icon or "", max_chars=256)
    for field in ("default_ttl_ms", "activity_bump_ms", "failure_ttl_ms"):
        value = getattr(request, field, None)
        if value is not None and not 0 <= value <= MAX_TTL_MS:
            problems.append(ValidationError(field, "Must be from 0 to 30 days, in milliseconds."))
    level = getattr(request, "max_port_share_level", None)
    if level and level not in PORT_SHARE_LEVELS:
        problems.append(ValidationError("max_port_share_level", f"Must be one of {', '.join(PORT_SHARE_LEVELS)}."))
    if problems:
        raise Invalid("The template was refused.", validations=problems)


def decide_settings(request: CreateTemplateRequest) -> dict[str, Any]:
    """The settings to store of a new template."""
    stop, start = request.autostop_requirement, request.autostart_requirement
    return {
        "allow_user_autostart": request.allow_user_autostart is not False,
        "allow_user_autostop": request.allow_user_autostop is not False,
        "failure_ttl_ms": request.failure_ttl_ms or 0,
        "time_til_dormant_ms": request.dormant_ttl_ms or 0,
        "time_til_dormant_autodelete_ms": request.delete_ttl_ms or 0,
        "max_port_share_level": request.max_port_share_level or "owner",
        "autostop_requirement": {"days_of_week": stop.days_of_week, "weeks": stop.weeks} if stop else {},
        "autostart_requirement": {"days_of_week": start.days_of_week} if start else {},
    }


def check_can_be_active(status: str, *, is_archived: bool) -> None:
    """Refuse to make a version active that was not imported.

    Raises:
        PreconditionFailed: its job has not succeeded, or it is archived.
    """
    if is_archived:
        raise PreconditionFailed("The version is archived. Bring it back first.")
    if status == "succeeded":
        return
    if status in ("pending", "running"):
        raise PreconditionFailed("The version is still being imported. Wait for its job to end.")
    raise PreconditionFailed(
        "The version's import did not succeed. Read its log, mend the template, push it again."
    )
