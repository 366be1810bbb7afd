"""What an apply says, held against what is saved of it."""

import asyncio

import pytest

from devyard.provisioner.jobs import applying
from devyard.provisioner.jobs.applying import ApplyProgress
from tests.unit.engine.test_progress import Log, hook


class Apply(Log):
    def __init__(self, **saved: str) -> None:
        super().__init__()
        self.changes = 0
        self.progress: ApplyProgress = ApplyProgress(self.log, saved, self.count)

    def count(self) -> None:
        self.changes += 1

    def plan(self, address: str, action: str = "create") -> None:
        change = {"resource": {"addr": address}, "action": action}
        self.feed(**{"type": "planned_change", "@message": f"{address}: plan", "change": change})


async def test_complete_is_said_once_a_state_holds_it() -> None:
    log = Apply()
    log.feed(**hook("apply_start", "a.x"))
    log.feed(**hook("apply_complete", "a.x", id_value="1"))
    log.feed(**hook("apply_start", "a.y"))
    assert log.texts == ["a.x: apply_start"]
    assert log.progress.is_waiting
    log.progress.take_saved({"a.x": "1"})
    assert log.texts == ["a.x: apply_start", "a.x: apply_complete", "a.y: apply_start"]
    assert not log.progress.is_waiting


async def test_each_line_waits_for_its_own_resource_only() -> None:
    log = Apply()
    for name in ("x", "y", "z"):
        log.feed(**hook("apply_complete", f"a.{name}"))
    log.progress.take_saved({"a.y": ""})
    assert log.texts == []
    log.progress.take_saved({"a.x": "", "a.y": ""})
    assert log.texts == ["a.x: apply_complete", "a.y: apply_complete"]
    log.feed(**hook("apply_start", "a.after"))
    log.progress.let_go()
    assert log.texts[2:] == ["a.z: made, but Terraform ended before it had saved that", "a.after: apply_start"]


async def test_a_replaced_resource_is_not_taken_for_the_old_one() -> None:
    log = Apply(**{"a.x": "old"})
    log.feed(**hook("apply_complete", "a.x", id_value="new"))
    log.progress.take_saved({"a.x": "old"})
    assert log.texts == []
    assert log.progress.list_unsaved({"a.x": "old"}) == ("a.x (id new)",)
    log.progress.take_saved({"a.x": "new"})
    assert log.texts == ["a.x: apply_complete"]


async def test_lines_do_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "HOLD_S", 0.01)
    log = Apply()
    log.feed(**hook("apply_complete", "a.x"))
    assert log.texts == []
    async with asyncio.timeout(5):
        while not log.texts:
            await asyncio.sleep(0.005)
    assert log.progress.list_in_flight()[0] == ("a.x",), "still a possible orphan"


async def test_what_the_state_does_not_hold_is_named() -> None:
    log = Apply()
    for address in ("a.saved", "a.lost", "a.begun", "a.refused", "a.gone"):
        log.feed(**hook("apply_start", address, "delete" if address == "a.gone" else "create"))
    log.feed(**hook("apply_complete", "a.saved", id_value="1"))
    log.feed(**hook("apply_complete", "a.lost", id_value="2"))
    log.feed(**hook("apply_errored", "a.refused"))
    assert log.progress.list_unsaved({"a.saved": "1"}) == ("a.lost (id 2)", "a.begun (being created)")


async def test_in_flight_is_what_is_made_removed_and_planned() -> None:
    log = Apply()
    for address in ("a.x", "a.y"):
        log.plan(address)
    log.plan("a.kept", "update")
    log.feed(**hook("apply_start", "a.x"))
    log.feed(**hook("apply_start", "a.old", "delete"))
    assert log.progress.list_in_flight() == (
        ("a.x (being created)",),
        ("a.old (being removed)",),
        ("a.y (planned, not known to be begun)",),
    )
    log.feed(**hook("apply_complete", "a.x"))
    log.feed(**hook("apply_complete", "a.old", "delete"))
    log.progress.take_saved({"a.x": ""})
    assert log.progress.list_in_flight()[:2] == ((), ())
    assert log.changes == 6
