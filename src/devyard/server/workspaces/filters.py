"""The list's `q` as SQL conditions: each known key is one line of a table. Pure.

Called by the workspace actions. Invariant: text of the caller reaches the statement only as an argument.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from devyard.server.agents.queries import STATUS_SQL
from devyard.server.http.filters import escape_like, parse_filter, read_choices, read_flag, read_time, split_terms
from devyard.server.http.ids import parse_id, read_id
from devyard.wire.errors import UnknownFilter, ValidationError


class Condition(NamedTuple):
    """A term of the WHERE clause: `{0}`, `{1}` … stand for the values; `joins` are the joins that it needs."""

    sql: str
    values: Sequence[Any] = ()
    joins: tuple[str, ...] = ()


_TEMPLATE = "JOIN templates t ON t.id = w.template_id"
_BUILD = "JOIN workspace_builds b ON b.id = w.latest_build_id"
_JOB = "JOIN provisioner_jobs j ON j.id = b.job_id"
_ORGANIZATION = "JOIN organizations g ON g.id = w.organization_id"

STATUS_OF_BUILD = """CASE
    WHEN j.status IN ('pending', 'canceling', 'canceled', 'failed') THEN j.status
    WHEN j.status = 'running' THEN CASE b.transition WHEN 'start' THEN 'starting' WHEN 'stop' THEN 'stopping'
                                                     ELSE 'deleting' END
    WHEN j.status = 'succeeded' THEN CASE b.transition WHEN 'start' THEN 'running' WHEN 'stop' THEN 'stopped'
                                                       ELSE 'deleted' END
    ELSE 'failed' END"""
"""`builds.rules.decide_status` in SQL."""

_STATUSES = frozenset(
    "pending starting running stopping stopped failed canceling canceled deleting deleted".split()  # noqa: SIM905
)
_AGENT_STATUSES = frozenset({"connecting", "connected", "disconnected", "timeout"})
_AGENT_IN = (
    "EXISTS (SELECT FROM workspace_agents a WHERE a.build_id = w.latest_build_id AND "
    f"({STATUS_SQL}) = ANY({{0}}::text[]))"
)

_HAS_TYPE = (
    "EXISTS (SELECT FROM workspace_resources r WHERE r.build_id = w.latest_build_id"
    " AND substring(r.type FROM '^(?:coder|devyard)_(.*)$') = ANY({0}::text[]))"
)


def decide_conditions(text: str, *, user_id: UUID) -> list[Condition]:
    """The conditions of `q`.

    Raises:
        UnknownFilter: an unknown key, or a value that a key does not take.
    """
    plain, parameters = split_parameters(text)
    terms = parse_filter(plain, keys=frozenset(_KEYS), default="name")
    conditions = [_KEYS[key](value, user_id) for key, value in terms.items() if value]
    return conditions + [_parameter(name, value) for name, value in parameters]


def split_parameters(text: str) -> tuple[str, list[tuple[str, str | None]]]:
    """`q` without its `param:` terms, and those as (name, value or None for "has any")."""
    rest: list[str] = []
    found: list[tuple[str, str | None]] = []
    for term in split_terms(text):
        if not term.lower().startswith("param:"):
            rest.append(term)
            continue
        name, equals, value = term[6:].replace('"', "").partition("=")
        if not name:
            raise _refuse('"param" takes a parameter\'s name, with "=" and a value if you like.')
        found.append((name, value if equals else None))
    return " ".join(rest), found


def _name(value: str, user_id: UUID) -> Condition:
    owner, slash, name = value.partition("/")
    if not slash:
        return Condition("w.name ILIKE {0}", [f"%{escape_like(value)}%"])
    if not owner or owner == "me":
        return Condition("(w.owner_id = {0} AND w.name ILIKE {1})", [user_id, f"%{escape_like(name)}%"])
    return Condition("(lower(o.username) = lower({0}) AND w.name ILIKE {1})", [owner, f"%{escape_like(name)}%"])


def _owner(value: str, user_id: UUID) -> Condition:
    if value == "me":
        return Condition("w.owner_id = {0}", [user_id])
    owner_id = read_id(value)
    if owner_id is not None:
        return Condition("w.owner_id = {0}", [owner_id])
    return Condition("lower(o.username) = lower({0})", [value])


def _ids(value: str, _: UUID) -> Condition:
    return Condition("w.id = ANY({0}::uuid[])", [[parse_id("q", part.strip()) for part in value.split(",")][:200]])


def _template(value: str, _: UUID) -> Condition:
    return Condition("lower(t.name) = lower({0})", [value], (_TEMPLATE,))


def _status(value: str, _: UUID) -> Condition:
    wanted = read_choices("status", value, _STATUSES)
    return Condition(f"({STATUS_OF_BUILD}) = ANY({{0}}::text[])", [wanted], (_BUILD, _JOB))


def _has_agent(value: str, _: UUID) -> Condition:
    return Condition(_AGENT_IN, [read_choices("has-agent", value, _AGENT_STATUSES)])


def _healthy(value: str, _: UUID) -> Condition:
    wanted = ["connected"] if read_flag("healthy", value) else ["disconnected", "timeout"]
    return Condition(_AGENT_IN, [wanted])


def _outdated(value: str, _: UUID) -> Condition:
    operator = "<>" if read_flag("outdated", value) else "="
    return Condition(f"b.template_version_id {operator} t.active_version_id", (), (_TEMPLATE, _BUILD))


def _dormant(value: str, _: UUID) -> Condition:
    return Condition("w.dormant_at IS NOT NULL" if read_flag("dormant", value) else "w.dormant_at IS NULL")


def _used_before(value: str, _: UUID) -> Condition:
    return Condition("w.last_used_at <= {0}", [read_time("last_used_before", value)])


def _used_after(value: str, _: UUID) -> Condition:
    return Condition("w.last_used_at >= {0}", [read_time("last_used_after", value)])


def _organization(value: str, _: UUID) -> Condition:
    organization_id = read_id(value)
    if organization_id is not None:
        return Condition("w.organization_id = {0}", [organization_id])
    if value == "default":
        return Condition("g.is_default", (), (_ORGANIZATION,))
    return Condition("lower(g.name) = lower({0})", [value], (_ORGANIZATION,))


def _parameter(name: str, value: str | None) -> Condition:
    return Condition(
        "EXISTS (SELECT FROM workspace_build_parameters p WHERE p.build_id = w.latest_build_id"
        " AND lower(p.name) = lower({0}) AND ({1}::text IS NULL OR lower(p.value) = lower({1})))",
        [name, value],
    )


def _shared(value: str, _: UUID) -> Condition:
    """Workspaces that others were let into. None can be yet, so only "not shared" finds any."""
    return Condition("false" if read_flag("shared", value) else "true")


def _shared_with(value: str, _: UUID) -> Condition:
    return Condition("{0}::text IS NULL", [value])


def _has_ai_task(value: str, _: UUID) -> Condition:
    return Condition(f"{'' if read_flag('has-ai-task', value) else 'NOT '}{_HAS_TYPE}", [["ai_task"]])


def _has_external_agent(value: str, _: UUID) -> Condition:
    is_wanted = read_flag("has_external_agent", value)
    return Condition(f"{'' if is_wanted else 'NOT '}{_HAS_TYPE}", [["external_agent"]])


def _refuse(detail: str) -> UnknownFilter:
    return UnknownFilter("The filter can't be understood.", validations=[ValidationError("q", detail)])


_KEYS: dict[str, Callable[[str, UUID], Condition]] = {
    "id": _ids,
    "name": _name,
    "owner": _owner,
    "template": _template,
    "status": _status,
    "has-agent": _has_agent,
    "healthy": _healthy,
    "outdated": _outdated,
    "dormant": _dormant,
    "last_used_before": _used_before,
    "last_used_after": _used_after,
    "organization": _organization,
    "shared": _shared,
    "shared_with_user": _shared_with,
    "shared_with_group": _shared_with,
    "has-ai-task": _has_ai_task,
    "has_external_agent": _has_external_agent,
}
