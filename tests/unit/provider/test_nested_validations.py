"""Rules over nested blocks and between attributes: what is refused, and the neighbours that pass."""

from typing import Any

import pytest

from devyard.provisioner.provider.planning import fill_defaults
from devyard.provisioner.provider.problems import check_attributes
from devyard.provisioner.provider.registry import DATA_SOURCES, RESOURCES
from devyard.provisioner.provider.schema import Block, Values

AGENT: Values = {"arch": "amd64", "os": "linux"}
METADATA: Values = {"key": "k", "script": "s", "interval": 1}
VOLUME: Values = {"path": "/a", "enabled": True, "threshold": 5}
MEMORY: Values = {"enabled": True, "threshold": 100}
LIST = "list(string)"
OPTION: Values = {"name": "a", "value": "1"}
SECRET: Values = {"help_message": "h"}


def monitor(**blocks: list[Values]) -> Values:
    return AGENT | {"resources_monitoring": [blocks]}


def preset(*crons: str, ttl: int = 0, timezone: str = "UTC") -> Values:
    schedule = [{"cron": cron, "instances": 1} for cron in crons]
    scheduling = [{"timezone": timezone, "schedule": schedule}]
    prebuilds = {"instances": 1, "expiration_policy": [{"ttl": ttl}], "scheduling": scheduling}
    return {"name": "n", "prebuilds": [prebuilds]}


def parameter(**fields: Any) -> Values:
    return {"name": "n", **fields}


REFUSED: list[tuple[str, Values]] = [
    ("coder_agent", AGENT | {"metadata": [METADATA, METADATA]}),
    ("coder_agent", monitor(memory=[{"enabled": True, "threshold": 101}])),
    ("coder_agent", monitor(volume=[VOLUME, VOLUME | {"threshold": 6}])),
    ("coder_agent", monitor(volume=[VOLUME | {"path": "a"}])),
    ("coder_metadata", {"resource_id": "r", "item": [{"key": "a"}, {"key": "a"}]}),
    ("coder_workspace_preset", preset("* 8-9 * * *", ttl=3599)),
    ("coder_workspace_preset", preset("* 8-9 * * *", ttl=31_536_001)),
    ("coder_workspace_preset", preset("0 8 * * *")),
    ("coder_workspace_preset", preset("* 8-10 * * *", "* 10-12 * * *")),
    ("coder_workspace_preset", preset("* 8 * * *", timezone="X/Y")),
    ("coder_workspace_preset", {"name": "n", "description": "x" * 129}),
    ("coder_secret", SECRET),
    ("coder_secret", SECRET | {"env": "A", "file": "~/a"}),
    ("coder_secret", SECRET | {"env": "1A"}),
    ("coder_secret", SECRET | {"file": "a"}),
    ("coder_parameter", parameter(ephemeral=True, default="a")),
    ("coder_parameter", parameter(ephemeral=True, mutable=True)),
    ("coder_parameter", parameter(styling="{")),
    ("coder_parameter", parameter(type=LIST, default="a")),
    ("coder_parameter", parameter(form_type="slider")),
    ("coder_parameter", parameter(validation=[{"regex": "a"}])),
    ("coder_parameter", parameter(validation=[{"min": 1}])),
    ("coder_parameter", parameter(option=[OPTION, OPTION | {"name": "b"}])),
    ("coder_parameter", parameter(default="z", option=[OPTION])),
]
ACCEPTED: list[tuple[str, Values]] = [
    ("coder_agent", AGENT | {"metadata": [METADATA, METADATA | {"key": "j"}]}),
    (
        "coder_agent",
        monitor(memory=[{"enabled": True, "threshold": 100}], volume=[VOLUME, VOLUME | {"path": "/b"}]),
    ),
    ("coder_workspace_preset", preset("* 8-9 * * *", "* 10-12 * * *", ttl=3600)),
    ("coder_secret", SECRET | {"env": "_A"}),
    ("coder_secret", SECRET | {"file": "~/a"}),
    ("coder_parameter", parameter(ephemeral=True, mutable=True, default="a")),
    (
        "coder_parameter",
        parameter(type=LIST, form_type="multi-select", default='["1"]', option=[OPTION]),
    ),
    ("coder_parameter", parameter(type="number", default="1", validation=[{"min": 0, "max": 2}])),
    ("coder_parameter", parameter(type=LIST, default="[]")),
]


def shape(block: Block, given: Values) -> Values:
    """The values as Terraform sends them: what is absent is null, or an empty list of blocks."""
    values: Values = dict.fromkeys(block.attributes) | given
    for name, nested in block.blocks.items():
        values[name] = [shape(nested.block, item) for item in given.get(name, [])]
    return values


def find_problems(type_name: str, given: Values) -> list[str]:
    declared = {**DATA_SOURCES, **RESOURCES}[type_name]
    values = fill_defaults(declared.block, shape(declared.block, given))
    return [p.message for p in (*check_attributes(declared.block, values), *declared.check(values))]


@pytest.mark.parametrize(("type_name", "given"), REFUSED)
def test_refused(type_name: str, given: Values) -> None:
    assert find_problems(type_name, given)


@pytest.mark.parametrize(("type_name", "given"), ACCEPTED)
def test_accepted(type_name: str, given: Values) -> None:
    assert find_problems(type_name, given) == []
