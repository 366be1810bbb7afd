"""Questions on a terminal: what each form type takes, what is asked again, and what is never asked."""

import io
from datetime import timedelta
from typing import Any
from uuid import UUID

import click
import msgspec
import pytest

from devyard.cli.failures import CommandFailed
from devyard.cli.workspaces.asking import describe_limits, read_answer
from devyard.cli.workspaces.buildtimes import summarize
from devyard.cli.workspaces.parameters import Given
from devyard.cli.workspaces.presets import choose_preset
from devyard.cli.workspaces.values import decide_values
from devyard.wire.templates import Preset, PresetParameter, TemplateParameter, TemplateParameterOption
from devyard.wire.timings import BuildTimings, ProvisionerTiming
from tests.unit.cli.fakeapi import NOW
from tests.unit.cli.test_parameters import CPUS, REGION, make_parameter

TOOLS = make_parameter(
    "tools",
    type="list(string)",
    form_type="multi-select",
    default_value='["git"]',
    options=[TemplateParameterOption(name.title(), "", name, "") for name in ("git", "vim", "go")],
)
FLAG = make_parameter("flag", type="bool", form_type="checkbox", default_value="false")
WORDS = make_parameter("words", type="list(string)", form_type="tag-select", default_value="[]")
TEXT = make_parameter("text", form_type="textarea", default_value="as it was")
NAMED = make_parameter("named", validation_regex="^[a-z]+$", validation_error="Small letters only.", required=True)


@pytest.fixture
def type_answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    def answer(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return answer


def ask(
    *asked: TemplateParameter, given: Given | None = None, previous: dict[str, str] | None = None
) -> list[str]:
    values = decide_values(asked, given or Given(), previous=previous, is_terminal=True)
    return [value.value for value in values]


@pytest.mark.parametrize(
    ("parameter", "typed", "value"),
    [
        (REGION, ["2"], "us"),
        (REGION, ["America"], "us"),
        (REGION, [""], "eu"),
        (REGION, ["moon", "us"], "us"),
        (CPUS, ["9", "many", "8"], "8"),
        (TOOLS, ["1, vim,Go"], '["git","vim","go"]'),
        (TOOLS, [""], '["git"]'),
        (TOOLS, ["git,ed", "vim"], '["vim"]'),
        (FLAG, ["y"], "true"),
        (FLAG, [""], "false"),
        (WORDS, ["a b, c"], '["a b","c"]'),
        (WORDS, ['["x, y"]'], '["x, y"]'),
        (TEXT, ["one", "two", ""], "one\ntwo"),
        (TEXT, [""], "as it was"),
        (NAMED, ["", "BIG", "small"], "small"),
    ],
    ids=lambda value: value.name if isinstance(value, TemplateParameter) else None,
)
def test_each_form_type(type_answers: Any, parameter: TemplateParameter, typed: list[str], value: str) -> None:
    type_answers(*typed)
    assert ask(parameter) == [value]


def test_the_authors_sentence_is_shown_and_the_end_of_input_ends(
    type_answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    type_answers("BIG")
    with pytest.raises(click.Abort):
        ask(NAMED)
    assert "Small letters only." in capsys.readouterr().err


def test_after_an_update_only_the_new_and_the_invalid_are_asked(
    type_answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    type_answers("4", "b")
    zone = make_parameter("zone", default_value="a")
    assert ask(REGION, CPUS, zone, previous={"region": "us", "cpus": "20"}) == ["us", "4", "b"]
    said = capsys.readouterr().err
    assert "No longer valid: cpus = 20" in said
    assert "New in this version: zone" in said
    assert "region [" not in said


def test_an_immutable_value_that_no_longer_passes_is_no_endless_question() -> None:
    fixed = msgspec.structs.replace(CPUS, mutable=False)
    with pytest.raises(CommandFailed, match="this version can't be used"):
        ask(fixed, previous={"cpus": "20"})


def test_what_is_given_is_judged_before_the_first_question(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandFailed, match="more than the maximum 8"):
        ask(REGION, CPUS, given=Given(values={"cpus": "9"}))
    assert "region" not in capsys.readouterr().err


def test_an_ephemeral_parameter_is_asked_only_on_demand(type_answers: Any) -> None:
    once = make_parameter("once", type="bool", form_type="checkbox", default_value="false", ephemeral=True)
    assert ask(once) == []
    type_answers("y")
    assert ask(once, given=Given(asks_ephemeral=True)) == ["true"]


def test_everything_missing_is_in_one_message() -> None:
    asked = [NAMED, msgspec.structs.replace(CPUS, required=True), REGION]
    with pytest.raises(CommandFailed) as refused:
        decide_values(asked, Given(values={"region": "moon"}), is_terminal=False)
    said = str(refused.value)
    assert "2 parameters need a value" in said
    assert "--parameter cpus=VALUE (a number, at least 1, at most 8)" in said
    assert "--parameter named=VALUE" in said
    assert '"moon" is none of' in said


def test_limits_and_answers_in_words() -> None:
    assert describe_limits(REGION) == "one of eu, us"
    assert describe_limits(TOOLS).startswith("any of git")
    assert describe_limits(make_parameter("x")) == ""
    assert read_answer(WORDS, " ") == "[]"


SMALL = Preset(UUID(int=1), "small", [PresetParameter("cpus", "1")])
LARGE = msgspec.structs.replace(SMALL, Name="large", Default=True)


def test_presets_by_name_by_default_and_by_question(type_answers: Any) -> None:
    both = [SMALL, LARGE]
    assert choose_preset(both, "small", asks=False) is SMALL
    assert choose_preset(both, "none", asks=True) is None
    assert choose_preset(both, "", asks=False) is LARGE
    assert choose_preset([SMALL], "", asks=False) is None
    with pytest.raises(CommandFailed, match="Did you mean small"):
        choose_preset(both, "smal", asks=True)
    type_answers("", "x", "1", "none")
    assert choose_preset(both, "", asks=True) is LARGE
    assert choose_preset(both, "", asks=True) is SMALL
    assert choose_preset(both, "", asks=True) is None


def test_timings_name_the_slowest_resource() -> None:
    def span(stage: str, resource: str, began: float, took: float) -> ProvisionerTiming:
        start = NOW + timedelta(seconds=began)
        return ProvisionerTiming(
            job_id=SMALL.ID,
            started_at=start,
            ended_at=start + timedelta(seconds=took),
            stage=stage,
            source="terraform",
            action="create",
            resource=resource,
        )

    spans = [span("apply", "x.a", 2, 1), span("apply", "x.b", 2, 3), span("init", "", 0, 1.5)]
    assert summarize(BuildTimings(spans, [], [])) == [
        ("init", "1.50 s"),
        ("apply", "3.00 s, the slowest x.b (3.00 s)"),
    ]
