"""Which value a parameter gets, and what is refused before anything is built."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from devyard.cli.failures import CommandFailed
from devyard.cli.workspaces.parameters import Given, read_given, read_parameter_file
from devyard.cli.workspaces.values import decide_values
from devyard.wire.templates import TemplateParameter, TemplateParameterOption


def make_parameter(name: str, **changes: Any) -> TemplateParameter:
    parameter = TemplateParameter(
        name=name,
        description="",
        description_plaintext="",
        type="string",
        form_type="input",
        mutable=True,
        default_value="",
        icon="",
        options=[],
        required=False,
        ephemeral=False,
    )
    return msgspec.structs.replace(parameter, **changes)


def decide(asked: list[TemplateParameter], given: Given, previous: dict[str, str] | None = None) -> dict[str, str]:
    return {p.name: p.value for p in decide_values(asked, given, previous=previous, is_terminal=False)}


REGION = make_parameter(
    "region",
    default_value="eu",
    options=[TemplateParameterOption("Europe", "", "eu", ""), TemplateParameterOption("America", "", "us", "")],
    form_type="radio",
)
CPUS = make_parameter("cpus", type="number", default_value="2", validation_min=1, validation_max=8)


def test_options_win_over_defaults_and_defaults_over_the_template() -> None:
    given = Given(values={"cpus": "4"}, defaults={"region": "us", "cpus": "3"})
    assert decide([REGION, CPUS], given) == {"region": "us", "cpus": "4"}
    assert decide([REGION, CPUS], Given()) == {"region": "eu", "cpus": "2"}


def test_the_last_builds_values_stay() -> None:
    assert decide([REGION, CPUS], Given(), {"region": "us", "cpus": "3"}) == {"region": "us", "cpus": "3"}
    assert decide([REGION], Given(values={"region": "eu"}), {"region": "us"}) == {"region": "eu"}
    fixed = msgspec.structs.replace(REGION, mutable=False)
    with pytest.raises(CommandFailed, match="can only be set when a workspace is created"):
        decide([fixed], Given(values={"region": "eu"}), {"region": "us"})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Given(values={"cpus": "9"}), "more than the maximum 8"),
        (Given(values={"cpus": "many"}), "is not a number"),
        (Given(values={"region": "moon"}), '"eu" or "us"'),
        (Given(values={"colour": "red"}), 'no parameter "colour". It has: region, cpus'),
        (Given(defaults={"cpus": "0"}), "less than the minimum 1"),
    ],
)
def test_wrong_values_are_refused_by_name(given: Given, said: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        decide([REGION, CPUS], given)
    assert said in str(refused.value)


def test_a_required_value_is_asked_for_by_its_option() -> None:
    with pytest.raises(CommandFailed, match="--parameter token=VALUE"):
        decide([make_parameter("token", required=True)], Given())


def test_ephemeral_values_are_sent_only_when_given() -> None:
    once = make_parameter("rebuild", type="bool", default_value="false", ephemeral=True, form_type="checkbox")
    assert decide([once], Given(), {"rebuild": "true"}) == {}
    assert decide([once], Given(ephemeral={"rebuild": "true"}), {}) == {"rebuild": "true"}


def test_a_yaml_file_gives_text(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("cpus: 4\nflag: true\nnames: [a, b]\nempty:\n")
    assert read_parameter_file(file) == {"cpus": "4", "flag": "true", "names": '["a","b"]', "empty": ""}
    given = read_given(["cpus=6", "text=a=b"], [], file)
    assert given.values["cpus"] == "6"
    assert given.values["text"] == "a=b"
    for content in ("- a", "a: [", "!!python/object:os.system x"):
        file.write_text(content)
        with pytest.raises(CommandFailed):
            read_parameter_file(file)
    with pytest.raises(CommandFailed, match="can't be read"):
        read_parameter_file(tmp_path / "none.yaml")
    with pytest.raises(CommandFailed, match="--parameter NAME=VALUE"):
        read_given(["cpus"], [], None)
