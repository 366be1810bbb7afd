"""What a build's parameters, states and status are decided to be."""

from datetime import UTC, datetime, timedelta

import pytest

from devyard.server.builds import rules
from devyard.wire.errors import Invalid
from devyard.wire.parameters import ParameterDefinition, ParameterOption
from devyard.wire.templates import ParameterValue

DEFINITIONS = (
    ParameterDefinition(
        name="region", required=True, options=tuple(ParameterOption(name=v, value=v) for v in "ab")
    ),
    ParameterDefinition(
        name="disk", type="number", mutable=True, default_value="10", validation_monotonic="increasing"
    ),
    ParameterDefinition(name="cpu", type="number", mutable=True, default_value="2", validation_max=8),
    ParameterDefinition(name="reset", type="bool", mutable=True, ephemeral=True, default_value="false"),
)
KEPT = {"region": "a", "disk": "20", "cpu": "4"}


@pytest.mark.parametrize(
    ("given", "previous", "transition", "expected"),
    [
        ({"region": "a"}, None, "start", {"region": "a", "disk": "10", "cpu": "2", "reset": "false"}),
        ({}, KEPT, "start", {**KEPT, "reset": "false"}),
        ({"disk": "30", "reset": "true"}, KEPT, "start", {**KEPT, "disk": "30", "reset": "true"}),
        ({"region": "a"}, KEPT, "start", {**KEPT, "reset": "false"}),
        ({}, {"gone": "1", **KEPT}, "start", {**KEPT, "reset": "false"}),
        ({}, {**KEPT, "reset": "true"}, "start", {**KEPT, "reset": "false"}),
        ({}, {}, "stop", {"disk": "10", "cpu": "2", "reset": "false"}),
        ({}, {**KEPT, "cpu": "99"}, "delete", {**KEPT, "cpu": "99", "reset": "false"}),
    ],
)
def test_values(
    given: dict[str, str], previous: dict[str, str] | None, transition: str, expected: dict[str, str]
) -> None:
    values = [ParameterValue(name=name, value=value) for name, value in given.items()]
    assert rules.decide_parameters(DEFINITIONS, values, previous, transition) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "previous", "transition", "fields"),
    [
        ([], None, "start", ["region"]),
        ([("nope", "1"), ("region", "a")], None, "start", ["nope"]),
        ([("region", "a"), ("region", "b")], None, "start", ["region"]),
        ([("region", "c")], None, "start", ["region"]),
        ([("region", "b")], KEPT, "start", ["region"]),
        ([("disk", "15")], KEPT, "start", ["disk"]),
        ([("cpu", "9"), ("disk", "x")], KEPT, "start", ["disk", "cpu"]),
        ([], {**KEPT, "cpu": "99"}, "start", ["cpu"]),
        ([("cpu", "99")], KEPT, "stop", ["cpu"]),
    ],
)
def test_refusals(
    given: list[tuple[str, str]], previous: dict[str, str] | None, transition: str, fields: list[str]
) -> None:
    values = [ParameterValue(name=name, value=value) for name, value in given]
    with pytest.raises(Invalid) as caught:
        rules.decide_parameters(DEFINITIONS, values, previous, transition)  # type: ignore[arg-type]
    assert [problem.field for problem in caught.value.validations] == fields


def test_ephemeral_values_are_not_kept() -> None:
    assert rules.decide_kept_parameters(DEFINITIONS, {**KEPT, "reset": "true"}) == KEPT


@pytest.mark.parametrize(
    ("transition", "job", "status"),
    [
        ("start", "pending", "pending"),
        ("start", "running", "starting"),
        ("start", "succeeded", "running"),
        ("start", "failed", "failed"),
        ("stop", "running", "stopping"),
        ("stop", "succeeded", "stopped"),
        ("delete", "running", "deleting"),
        ("delete", "succeeded", "deleted"),
        ("delete", "canceling", "canceling"),
        ("stop", "canceled", "canceled"),
        ("start", "unknown", "failed"),
    ],
)
def test_status(transition: str, job: str, status: str) -> None:
    assert rules.decide_status(transition, job) == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lineage", "serial", "allow_equal", "is_refused"),
    [
        ("", -1, False, False),
        ("line", 4, False, False),
        ("line", 5, False, True),
        ("line", 5, True, False),
        ("line", 6, True, True),
        ("other", 1, True, True),
    ],
)
def test_successors(lineage: str, serial: int, allow_equal: bool, is_refused: bool) -> None:
    head = rules.read_state(b'{"version": 4, "serial": 5, "lineage": "line", "resources": []}')
    assert (rules.check_successor(head, lineage, serial, allow_equal=allow_equal) is not None) == is_refused


@pytest.mark.parametrize("state", [b"", b"{}", b'{"version": 3, "serial": 1, "lineage": "x"}', b"\xff"])
def test_no_states(state: bytes) -> None:
    with pytest.raises(Invalid):
        rules.read_state(state)


def test_deadline() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert rules.decide_deadline("start", 60_000, now) == now + timedelta(minutes=1)
    assert rules.decide_deadline("start", None, now) is None
    assert rules.decide_deadline("stop", 60_000, now) is None


def test_failures_name_orphans() -> None:
    assert rules.describe_failure("boom", ()) == "boom"
    text = rules.describe_failure("boom", [f"disk.{n}" for n in range(25)])
    assert "disk.0" in text
    assert "and 5 more" in text
