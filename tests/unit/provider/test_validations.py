"""Configurations that the provider refuses, each beside a neighbour that it accepts."""

from typing import Any

import pytest

from devyard.provisioner.provider.planning import fill_defaults
from devyard.provisioner.provider.problems import check_attributes
from devyard.provisioner.provider.registry import RESOURCES
from devyard.provisioner.provider.schema import Values

APP: Values = {"agent_id": "a", "slug": "s"}
SCRIPT: Values = {"agent_id": "a", "display_name": "d", "script": "s"}
AGENT: Values = {"arch": "amd64", "os": "linux"}

CASES: list[tuple[str, Values, str, Any, Any]] = [
    ("agent", AGENT, "arch", "arm", "armv7"),
    ("agent", AGENT, "os", "plan9", "darwin"),
    ("agent", AGENT, "auth", "password", "aws-instance-identity"),
    ("agent", AGENT, "api_key_scope", "none", "no_user_data"),
    ("agent", AGENT, "connection_timeout", -1, 0),
    ("agent", AGENT, "startup_script_behavior", "wait", "blocking"),
    ("app", APP, "slug", "a--b", "a-b"),
    ("app", APP, "slug", "A", "a"),
    ("app", APP, "display_name", "x" * 65, "x" * 64),
    ("app", APP, "group", "x" * 65, "x" * 64),
    ("app", APP, "tooltip", "x" * 2049, "x" * 2048),
    ("app", APP, "share", "all", "public"),
    ("app", APP, "open_in", "window", "tab"),
    ("app", APP | {"command": "top"}, "url", "http://localhost", None),
    ("app", APP | {"command": "top"}, "subdomain", True, None),
    ("app", APP | {"external": True}, "command", "top", None),
    ("app", APP | {"external": True}, "subdomain", True, None),
    ("app", APP | {"external": True}, "share", "public", None),
    ("script", SCRIPT, "run_on_start", False, True),
    ("script", SCRIPT, "cron", "0 * * * *", "0 0 * * * *"),
    ("script", SCRIPT | {"run_on_stop": True}, "start_blocks_login", True, False),
    ("env", {"agent_id": "a", "name": "N"}, "merge_strategy", "add", "append"),
]


def problems(name: str, config: Values) -> list[str]:
    resource = RESOURCES[f"coder_{name}"]
    block = resource.block
    empty: Values = dict.fromkeys(block.attributes) | {each: [] for each in block.blocks}
    values = fill_defaults(block, empty | config)
    return [each.message for each in (*check_attributes(block, values), *resource.check(values))]


@pytest.mark.parametrize(("name", "base", "attribute", "bad", "good"), CASES)
def test_refuses_the_bad_value_only(name: str, base: Values, attribute: str, bad: Any, good: Any) -> None:
    assert problems(name, base | {attribute: bad})
    assert problems(name, base | {attribute: good}) == []
