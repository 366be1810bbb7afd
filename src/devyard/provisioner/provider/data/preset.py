"""`workspace_preset` and `workspace_tags`: named parameter values, and where builds of a template run."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from devyard.provisioner.provider.capture import CapturedPrebuilds, CapturedPreset
from devyard.provisioner.provider.checks import at_most_characters, link, not_empty, whole_number
from devyard.provisioner.provider.cron import MINUTE_TO_WEEKDAY, parse_expression
from devyard.provisioner.provider.declarations import Call, DataSource
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import (
    STRING_MAP,
    Block,
    Nested,
    Values,
    computed,
    optional,
    required,
)
from devyard.provisioner.provider.values import has_unknown

_SHORTEST_TTL_S = 3600
_LONGEST_TTL_S = 31_536_000


def _ttl(value: Any) -> str | None:
    if value == 0 or _SHORTEST_TTL_S <= value <= _LONGEST_TTL_S:
        return None
    return f"{value} is not allowed; use 0 (never), or {_SHORTEST_TTL_S} to {_LONGEST_TTL_S} seconds."


def _time_zone(value: Any) -> str | None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        if not available_timezones():
            return None  # this machine has no time zones at all, so nothing can be said about a name
        return f'"{value}" is no time zone; use a name like "Europe/Berlin" or "UTC".'
    return None


def _window_cron(value: Any) -> str | None:
    try:
        parse_expression(MINUTE_TO_WEEKDAY, value)
    except ValueError as error:
        return str(error)
    if value.split()[0] != "*":
        return f'"{value}" has to begin with "*": windows are whole hours ("* 8-18 * * 1-5").'
    return None


_SCHEDULE_BLOCK = Block(
    attributes={
        "cron": required(
            "string", "The hours and days of the window: `* HOURS DAYS MONTHS WEEKDAYS`.", _window_cron
        ),
        "instances": required("number", "Workspaces in reserve during the window.", whole_number(0)),
    },
    doc="A window with its own number of workspaces.",
)

_PREBUILDS_BLOCK = Block(
    attributes={"instances": required("number", "Workspaces kept in reserve.", whole_number(0))},
    blocks={
        "expiration_policy": Nested(
            nesting="set",
            max_items=1,
            block=Block(attributes={"ttl": required("number", "Seconds until one in reserve is replaced.", _ttl)}),
        ),
        "scheduling": Nested(
            nesting="list",
            max_items=1,
            block=Block(
                attributes={"timezone": required("string", "Time zone of the windows.", _time_zone)},
                blocks={"schedule": Nested(nesting="list", min_items=1, block=_SCHEDULE_BLOCK)},
            ),
        ),
    },
    doc="Workspaces kept in reserve, ready to be taken.",
)

_PRESET_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this data source."),
        "name": required("string", "What users choose.", not_empty),
        "default": optional("bool", "Chosen at first.", default=False),
        "description": optional("string", "What it is for.", at_most_characters(128)),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", at_most_characters(256), link),
        "parameters": optional(STRING_MAP, "Parameter name → value."),
    },
    blocks={"prebuilds": Nested(nesting="set", max_items=1, block=_PREBUILDS_BLOCK)},
    doc="Parameter values under one name.",
)


def _check_preset(values: Values) -> Iterator[Problem]:
    prebuilds = values["prebuilds"]
    if has_unknown(prebuilds) or not prebuilds or not prebuilds[0]["scheduling"]:
        return
    windows = [schedule["cron"] for schedule in prebuilds[0]["scheduling"][0]["schedule"]]
    if any(_window_cron(window) for window in windows):
        return
    for first, second in combinations(windows, 2):
        if _do_overlap(first, second):
            yield Problem(
                f'The windows "{first}" and "{second}" overlap; at any hour only one number can hold.',
                ("prebuilds",),
            )


def _do_overlap(first: str, second: str) -> bool:
    """Whether some hour lies in both windows. A day has to pass both of cron's day fields."""
    pairs = zip(
        parse_expression(MINUTE_TO_WEEKDAY, first), parse_expression(MINUTE_TO_WEEKDAY, second), strict=True
    )
    return all(one & other for one, other in pairs)


def _read_preset(call: Call, values: Values) -> Values:
    preset = CapturedPreset(
        name=values["name"],
        is_default=values["default"],
        description=values["description"] or "",
        icon=values["icon"] or "",
        parameters={name: value or "" for name, value in (values["parameters"] or {}).items()},
        prebuilds=_prebuilds(values["prebuilds"][0]) if values["prebuilds"] else None,
    )
    if clash := call.capture.add_preset(preset):
        call.fail(clash, "name")
    return {"id": str(uuid5(NAMESPACE_URL, f"devyard:preset/{preset.name}"))}


def _prebuilds(values: Values) -> CapturedPrebuilds:
    scheduling: Values = values["scheduling"][0] if values["scheduling"] else {"timezone": "", "schedule": []}
    return CapturedPrebuilds(
        instances=int(values["instances"]),
        ttl_s=int(values["expiration_policy"][0]["ttl"]) if values["expiration_policy"] else 0,
        timezone=scheduling["timezone"],
        schedule=tuple((each["cron"], int(each["instances"])) for each in scheduling["schedule"]),
    )


def _read_tags(call: Call, values: Values) -> Values:
    tags = {key: value or "" for key, value in (values["tags"] or {}).items()}
    call.capture.workspace_tags.append(tags)
    return {"id": str(uuid5(NAMESPACE_URL, f"devyard:tags/{sorted(tags.items())}"))}


DATA_SOURCES = (
    DataSource(name="workspace_preset", block=_PRESET_BLOCK, check=_check_preset, read=_read_preset),
    DataSource(
        name="workspace_tags",
        block=Block(
            attributes={
                "id": computed("string", "Names this data source."),
                "tags": optional(STRING_MAP, "Tag → value; a provisioner with all of them runs the build."),
            },
            doc="Where builds of this template run.",
        ),
        read=_read_tags,
    ),
)
