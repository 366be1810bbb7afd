"""Pure decisions about templates: names, settings, and what a version must be to become active."""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from devyard.server.names import MAX_DISPLAY_CHARS, check_name, check_text
from devyard.wire.errors import Invalid, PreconditionFailed, ValidationError
from devyard.wire.templates import CreateTemplateRequest, UpdateTemplateRequest, VariableValue

MAX_VERSION_NAME_CHARS = 64
MAX_MESSAGE_CHARS = 1024
MAX_VARIABLES = 500
DAY_MS = 24 * 3600 * 1000
MAX_TTL_MS = 30 * DAY_MS
MAX_DORMANT_MS = 5 * 365 * DAY_MS
MAX_WEEKS = 16
PORT_SHARE_LEVELS = ("owner", "authenticated", "organization", "public")
CORS_BEHAVIORS = ("simple", "passthru")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DEFAULT_SETTINGS: dict[str, Any] = {
    "allow_user_autostart": True,
    "allow_user_autostop": True,
    "failure_ttl_ms": 0,
    "time_til_dormant_ms": 0,
    "time_til_dormant_autodelete_ms": 0,
    "max_port_share_level": "owner",
    "autostop_requirement": {},
    "autostart_requirement": {},
    "use_classic_parameter_flow": False,
    "cors_behavior": "simple",
    "disable_everyone_group_access": False,
}
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


def decide_values(values: Sequence[Mapping[str, Any]], declared: Sequence[str]) -> list[dict[str, Any]]:
    """The values to keep once the template's variables are known; inherited ones that it lacks now are dropped.

    Raises:
        Invalid: a value was given for what the template does not declare.
    """
    unknown = [v["name"] for v in values if v["name"] not in declared and not v.get("inherited")]
    if unknown:
        known = f"It declares {', '.join(sorted(declared)[:20])}." if declared else "It declares none."
        raise Invalid(f"The template has no variable named {', '.join(unknown[:5])}. {known}")
    return [{"name": v["name"], "value": v["value"]} for v in values if v["name"] in declared]


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
    problems += _check_times(request) + _check_schedules(request)
    for field, allowed in (("max_port_share_level", PORT_SHARE_LEVELS), ("cors_behavior", CORS_BEHAVIORS)):
        value = getattr(request, field)
        if value and value not in allowed:
            problems.append(ValidationError(field, f"Must be one of {', '.join(allowed)}."))
    if problems:
        raise Invalid("The template was refused.", validations=problems)


def _check_times(request: CreateTemplateRequest | UpdateTemplateRequest) -> list[ValidationError]:
    bounds = {
        "default_ttl_ms": MAX_TTL_MS,
        "activity_bump_ms": MAX_TTL_MS,
        "failure_ttl_ms": MAX_TTL_MS,
        **dict.fromkeys(("dormant_ttl_ms", "delete_ttl_ms"), MAX_DORMANT_MS),
        **dict.fromkeys(("time_til_dormant_ms", "time_til_dormant_autodelete_ms"), MAX_DORMANT_MS),
    }
    return [
        ValidationError(field, f"Must be from 0 to {highest // DAY_MS} days, in milliseconds.")
        for field, highest in bounds.items()
        if (value := getattr(request, field, None)) is not None and not 0 <= value <= highest
    ]


def _check_schedules(request: CreateTemplateRequest | UpdateTemplateRequest) -> list[ValidationError]:
    problems = []
    for field in ("autostop_requirement", "autostart_requirement"):
        requirement = getattr(request, field)
        days = requirement.days_of_week if requirement else []
        if bad := [day for day in days if day not in DAYS]:
            problems.append(ValidationError(field, f'"{bad[0][:20]}" is no day; use {", ".join(DAYS)}.'))
    if request.autostop_requirement and not 0 <= request.autostop_requirement.weeks <= MAX_WEEKS:
        problems.append(ValidationError("autostop_requirement", f"weeks must be from 0 to {MAX_WEEKS}."))
    return problems


def decide_settings(
    request: CreateTemplateRequest | UpdateTemplateRequest, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings to store: what the request gives, else what was there, else the default."""
    stop, start = request.autostop_requirement, request.autostart_requirement
    given = {
        "allow_user_autostart": request.allow_user_autostart,
        "allow_user_autostop": request.allow_user_autostop,
        "failure_ttl_ms": request.failure_ttl_ms,
        "time_til_dormant_ms": _first(request, "dormant_ttl_ms", "time_til_dormant_ms"),
        "time_til_dormant_autodelete_ms": _first(request, "delete_ttl_ms", "time_til_dormant_autodelete_ms"),
        "max_port_share_level": request.max_port_share_level or None,
        "autostop_requirement": {"days_of_week": stop.days_of_week, "weeks": stop.weeks} if stop else None,
        "autostart_requirement": {"days_of_week": start.days_of_week} if start else None,
        "use_classic_parameter_flow": request.use_classic_parameter_flow,
        "cors_behavior": request.cors_behavior or None,
        "disable_everyone_group_access": request.disable_everyone_group_access or None,
    }
    known = {**_DEFAULT_SETTINGS, **(before or {})}
    return {**known, **{name: value for name, value in given.items() if value is not None}}


def _first(request: CreateTemplateRequest | UpdateTemplateRequest, *names: str) -> int | None:
    return next((value for name in names if (value := getattr(request, name, None)) is not None), None)


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
