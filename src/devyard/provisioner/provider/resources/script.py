"""`script`, `env` and `metadata`: what joins an agent or a resource without being opened by anyone."""

from collections.abc import Iterator, Mapping
from typing import Any

from devyard.provisioner.provider.checks import link, not_empty, one_of, whole_number
from devyard.provisioner.provider.cron import cron_with_seconds
from devyard.provisioner.provider.declarations import Resource, find_duplicates, known
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import Block, Nested, Values, computed, optional, required
from devyard.provisioner.provider.values import UNKNOWN

MERGE_STRATEGIES = ("replace", "append", "prepend", "error")

_SCRIPT_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this resource."),
        "agent_id": required("string", "The agent that runs it."),
        "display_name": required("string", "Its name in logs.", not_empty),
        "script": required("string", "Its text.", not_empty),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", link),
        "log_path": optional("string", "Where its output is kept; a relative path lies in a temporary directory."),
        "cron": optional(
            "string", "When it runs: six fields, seconds first, in the agent's time zone.", cron_with_seconds
        ),
        "run_on_start": optional("bool", "Run it when the agent starts.", default=False),
        "run_on_stop": optional("bool", "Run it before the workspace stops.", default=False),
        "start_blocks_login": optional("bool", "Users wait until it has ended.", default=False),
        "timeout": optional("number", "Seconds after which it is ended; 0: never.", whole_number(0), default=0),
    },
    doc="A script that the agent runs at start, at stop or on a schedule.",
)

_ENV_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this resource."),
        "agent_id": required("string", "The agent whose environment it joins."),
        "name": required("string", "The variable's name.", not_empty),
        "value": optional("string", "The variable's value."),
        "merge_strategy": optional(
            "string",
            "What happens when several set the same variable; `append` and `prepend` join with a colon.",
            one_of(*MERGE_STRATEGIES),
            default="replace",
        ),
    },
    doc="An environment variable of the workspace.",
)


def _is_null(item: Mapping[str, Any]) -> Any:
    return UNKNOWN if item["value"] is UNKNOWN else item["value"] is None


_METADATA_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this resource."),
        "resource_id": required("string", "The `id` of the resource that it describes."),
        "hide": optional("bool", "Keep the resource out of the dashboard."),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", link),
        "daily_cost": optional("number", "What the resource costs a day, for quotas.", whole_number(0)),
    },
    blocks={
        "item": Nested(
            nesting="list",
            block=Block(
                attributes={
                    "key": required("string", "Its name.", not_empty),
                    "value": optional("string", "Its value."),
                    "sensitive": optional("bool", "Hide the value until it is asked for.", default=False),
                    "is_null": computed("bool", "Whether the value is null.", derive=_is_null),
                },
                doc="A name and a value shown beside the resource.",
            ),
        )
    },
    doc="What the dashboard shows beside another resource.",
)

_TRIGGERS = ("cron", "run_on_start", "run_on_stop")


def _check_script(values: Values) -> Iterator[Problem]:
    # A trigger that is not known yet may still become one.
    if not any(values[name] for name in _TRIGGERS):
        yield Problem("A script needs a trigger: set run_on_start, run_on_stop or cron.")
    if known(values["start_blocks_login"]) and not values["run_on_start"]:
        yield Problem(
            "start_blocks_login needs run_on_start = true: only such a script can hold up a sign-in.",
            ("start_blocks_login",),
        )


def _check_metadata(values: Values) -> Iterator[Problem]:
    yield from find_duplicates(values["item"], "key", ("item",))


def _check_env(values: Values) -> Iterator[Problem]:
    name = known(values["name"])
    if name and ("=" in name or "\0" in name):
        yield Problem(f'"{name}" can\'t be the name of a variable: it contains "=".', ("name",))


RESOURCES = (
    Resource(name="script", block=_SCRIPT_BLOCK, check=_check_script),
    Resource(name="env", block=_ENV_BLOCK, check=_check_env),
    Resource(name="metadata", block=_METADATA_BLOCK, check=_check_metadata),
)
