"""devyard repair: what it says, what it asks for, and that it does nothing without a yes."""

from typing import Any

import msgspec
import pytest

from devyard.wire.repair import RepairPlan, RepairStep
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import FakeApi, make_build, make_job, make_workspace

PLAN = RepairPlan(
    id="abc",
    is_needed=True,
    problem="Build 2 (start) failed: boom",
    steps=[RepairStep("forget", "t.vm is struck."), RepairStep("build", "A build is queued.")],
    possible_orphans=["t.x (being created)"],
    orphans_advice="Look for it.",
)


@pytest.fixture
def path(signed_in: FakeApi) -> str:
    """The route of a workspace's repair, which answers with the plan."""
    workspace = make_workspace()
    signed_in.on("GET /users/me/workspace/dev", (200, msgspec.to_builtins(workspace)))
    found = f"/workspaces/{workspace.id}/repair"
    signed_in.on(f"GET {found}", (200, msgspec.to_builtins(PLAN)))
    return found


def test_the_plan_is_told_and_nothing_is_done_without_a_yes(signed_in: FakeApi, cli: Cli, path: str) -> None:
    done = cli("repair", "dev", "--transition", "stop", "--forget", "t.vm")
    assert done.status == 1
    for text in (
        "failed: boom",
        "1. t.vm is struck.",
        "2. A build is queued.",
        "- t.x (being created)",
        "Look for",
    ):
        assert text in done.out
    (asked,) = [one for one in signed_in.asked if one.path == path]
    assert asked.query == {"transition": "stop", "forget": "t.vm"}
    assert signed_in.bodies(f"POST {path}") == []


def test_consent_goes_to_exactly_the_plan_that_was_told(signed_in: FakeApi, cli: Cli, path: str) -> None:
    build = make_build(status="stopped", transition="stop", job=make_job("succeeded"))
    signed_in.on(f"POST {path}", (201, msgspec.to_builtins(build)))
    signed_in.on(f"GET /workspacebuilds/{build.id}", (200, msgspec.to_builtins(build)))
    signed_in.on(f"GET /workspacebuilds/{build.id}/logs", (200, []))
    done = cli("repair", "dev", "--transition", "stop", "--yes")
    body: dict[str, Any] = signed_in.bodies(f"POST {path}")[0]
    assert (body["plan_id"], body["transition"], body["accepts_leaving"]) == ("abc", "stop", False)
    assert done.status == 0, done.err


def test_a_sound_workspace_is_left_alone(signed_in: FakeApi, cli: Cli, path: str) -> None:
    sound = msgspec.structs.replace(PLAN, is_needed=False, problem="", steps=[], possible_orphans=[])
    signed_in.on(f"GET {path}", (200, msgspec.to_builtins(sound)))
    done = cli("repair", "dev")
    assert done.status == 0
    assert "Nothing is wrong" in done.out
