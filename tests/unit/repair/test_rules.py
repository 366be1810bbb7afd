"""What a repair would do, decided from a workspace's last builds and states."""

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest

from devyard.server.builds.statefile import list_addresses, strike
from devyard.server.repair.rules import RecentBuild, SavedState, Situation, Wish, decide_repair
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid

ACTIVE_ID, OLD_ID, NEW_ID = UUID(int=1), UUID(int=2), UUID(int=3)
DISK = ("t.disk", "t.vm")


def build(number: int, status: str = "succeeded", transition: str = "start", **changes: Any) -> RecentBuild:
    values: dict[str, Any] = {
        "id": UUID(int=100 + number),
        "number": number,
        "transition": transition,
        "status": status,
        "error": "boom\nmore" if status == "failed" else "",
        "possible_orphans": [],
        "is_unattended": False,
        "version_id": OLD_ID,
        "version_name": "old",
        "is_version_usable": True,
    }
    return RecentBuild(**{**values, **changes})


def situation(*builds: RecentBuild, states: tuple[SavedState, ...] | None = None, **changes: Any) -> Situation:
    newest_first = sorted(builds, key=lambda one: -one.number)
    values: dict[str, Any] = {
        "workspace_name": "dev",
        "builds": newest_first,
        "states": [SavedState(newest_first[0].number, 3, DISK)] if states is None else list(states),
        "active_version_id": ACTIVE_ID,
        "active_version_name": "newest",
        "is_admin": False,
    }
    return Situation(**{**values, **changes})


def steps(found: Situation, **wish: Any) -> list[tuple[str, str]]:
    return [(step.action, step.description) for step in decide_repair(found, Wish(**wish)).plan.steps]


def test_a_workspace_that_works_needs_nothing() -> None:
    decision = decide_repair(situation(build(1)), Wish())
    assert (decision.plan.is_needed, decision.plan.steps, decision.transition) == (False, [], None)
    assert decision.plan.recorded == list(DISK)


@pytest.mark.parametrize("status", ["pending", "running", "canceling"])
def test_a_build_under_way_is_left_alone(status: str) -> None:
    decision = decide_repair(situation(build(1, status)), Wish(forget=("t.vm",)))
    assert not decision.plan.is_needed
    assert "nothing to repair" in decision.plan.problem
    assert decision.transition is None


def test_a_build_that_nobody_runs_any_more_is_given_up_first() -> None:
    found = situation(build(1), build(2, "running", is_unattended=True))
    decision = decide_repair(found, Wish())
    assert [step.action for step in decision.plan.steps] == ["give_up", "build"]
    assert decision.gives_up
    assert "provisioner is gone" in decision.plan.problem


def test_a_failed_build_is_followed_by_one_that_converges_with_the_version_that_worked() -> None:
    failed = build(2, "failed", version_id=NEW_ID, version_name="new", possible_orphans=["t.x (being created)"])
    decision = decide_repair(situation(build(1), failed), Wish())
    ((action, text),) = [(step.action, step.description) for step in decision.plan.steps]
    assert (action, decision.version_id, decision.transition) == ("build", OLD_ID, "start")
    assert '"old"' in text
    assert "starts the workspace" in text
    assert decision.plan.problem == "Build 2 (start) failed: boom"
    assert decision.plan.possible_orphans == ["t.x (being created)"]
    assert "Remove by hand" in decision.plan.orphans_advice
    assert {choice.parameter for choice in decision.plan.choices} == {"transition", "version", "forget"}


@pytest.mark.parametrize(("wanted", "version"), [("working", OLD_ID), ("current", NEW_ID), ("active", ACTIVE_ID)])
def test_the_version_can_be_chosen(wanted: Any, version: UUID) -> None:
    found = situation(build(1), build(2, "failed", version_id=NEW_ID, version_name="new"))
    assert decide_repair(found, Wish(version=wanted, transition="stop")).version_id == version


def test_without_a_version_that_worked_the_own_or_the_active_one_is_taken() -> None:
    assert decide_repair(situation(build(1, "failed")), Wish()).version_id == OLD_ID
    unusable = build(1, "failed", is_version_usable=False)
    assert decide_repair(situation(unusable), Wish()).version_id == ACTIVE_ID
    with pytest.raises(BadRequest):
        decide_repair(situation(unusable), Wish(version="working"))


def test_an_unreadable_state_gives_way_to_the_last_good_one() -> None:
    states = (SavedState(3, -1, problem="it is torn"), SavedState(2, 7, DISK))
    found = situation(build(2), build(3, "failed", "stop"), states=states)
    decision = decide_repair(found, Wish())
    assert [step.action for step in decision.plan.steps] == ["restore_state", "build"]
    assert decision.state_number == 2
    assert "it is torn" in decision.plan.problem
    assert "2 resources" in decision.plan.steps[0].description


def test_without_any_readable_state_no_build_is_begun() -> None:
    found = situation(build(1, "failed"), states=(SavedState(1, -1, problem="it is torn"),))
    with pytest.raises(Conflict, match="state push"):
        decide_repair(found, Wish())


def test_a_state_that_a_failed_start_emptied_gives_way_but_that_of_a_delete_does_not() -> None:
    states = (SavedState(3, 9), SavedState(2, 7, DISK))
    emptied = situation(build(2), build(3, "failed", "start"), states=states)
    assert decide_repair(emptied, Wish()).state_number == 2
    deleted = situation(build(2), build(3, "failed", "delete"), states=states)
    assert decide_repair(deleted, Wish()).state_number is None


def test_what_no_longer_exists_can_be_struck() -> None:
    decision = decide_repair(situation(build(1)), Wish(forget=("t.vm",)))
    assert [step.action for step in decision.plan.steps] == ["forget", "build"]
    assert "not removed" in decision.plan.steps[0].description
    with pytest.raises(Invalid):
        decide_repair(situation(build(1)), Wish(forget=("t.other",)))


def test_leaving_resources_is_the_last_step_and_names_them() -> None:
    failed = situation(build(1), build(2, "failed", "delete"))
    decision = decide_repair(failed, Wish(leave=True))
    assert decision.leaves
    assert decision.plan.needs_consent
    assert "t.disk, t.vm" in decision.plan.steps[-1].description
    for found, error in ((situation(build(1, "failed")), BadRequest), (situation(build(1)), BadRequest)):
        with pytest.raises(error):
            decide_repair(found, Wish(leave=True))
    with pytest.raises(Forbidden):
        decide_repair(situation(build(1, "failed")), Wish(leave=True, transition="delete"))
    assert decide_repair(situation(build(1), is_admin=True), Wish(leave=True, transition="delete")).leaves


def test_the_id_changes_with_situation_and_wish() -> None:
    base = situation(build(1), build(2, "failed"))
    ids = {
        decide_repair(base, Wish()).plan.id,
        decide_repair(base, Wish(transition="stop")).plan.id,
        decide_repair(msgspec.structs.replace(base, states=[SavedState(2, 4, DISK)]), Wish()).plan.id,
        decide_repair(situation(build(1), build(3, "failed")), Wish()).plan.id,
    }
    assert len(ids) == 4
    assert decide_repair(base, Wish()).plan.id in ids


def test_striking_leaves_the_rest_of_a_state_alone() -> None:
    instances = [{"index_key": 0, "attributes": {"id": "a"}}, {"index_key": "x", "attributes": {"id": "b"}}]
    state = {
        "version": 4,
        "serial": 5,
        "lineage": "l",
        "outputs": {"a": 1},
        "resources": [
            {"mode": "data", "type": "d", "name": "me", "instances": [{"attributes": {}}]},
            {"mode": "managed", "module": "module.m", "type": "t", "name": "n", "instances": instances},
            {"mode": "managed", "type": "t", "name": "alone", "instances": [{"attributes": {}}]},
        ],
    }
    data = json.dumps(state).encode()
    assert list_addresses(data) == ["module.m.t.n[0]", 'module.m.t.n["x"]', "t.alone"]
    struck = strike(data, ["t.alone", "module.m.t.n[0]"])
    assert list_addresses(struck) == ['module.m.t.n["x"]']
    after = json.loads(struck)
    assert (after["serial"], after["lineage"], after["outputs"]) == (6, "l", {"a": 1})
    assert len(after["resources"]) == 2
    for bad in (b"[]", b"{", b'{"version": 3}', b'{"version":4,"lineage":"l","resources":[{"mode":"managed"}]}'):
        with pytest.raises(ValueError):  # noqa: PT011
            list_addresses(bad)
