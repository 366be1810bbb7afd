"""devyard repair: the plan in words, a yes before anything is done, and what is sent."""

import msgspec
import pytest

from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.repair import RepairChoice, RepairPlan, RepairStep
from devyard.wire.workspaces import Workspace
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import NOW, FakeApi, make_build, make_workspace

PLAN = RepairPlan(
    id="p1",
    is_needed=True,
    problem="The last build was lost.",
    steps=[RepairStep("restore_state", "The saved state is taken."), RepairStep("build", "A stop build runs.")],
    possible_orphans=["docker_container.dev"],
    choices=[RepairChoice("transition", "start", "starts it instead")],
)


@pytest.fixture
def broken(signed_in: FakeApi) -> tuple[FakeApi, Workspace]:
    workspace = make_workspace()
    api = signed_in
    api.on("GET /users/me/workspace/dev", (200, workspace))
    api.on(f"GET /workspaces/{workspace.id}/repair", (200, PLAN))
    build = make_build(workspace.id, transition="stop")
    api.on(f"POST /workspaces/{workspace.id}/repair", (201, build))
    api.on(f"GET /workspacebuilds/{build.id}", (200, build))
    log = ProvisionerJobLog(1, NOW, "provisioner", "info", "Applying", "Apply complete!")
    api.on(f"GET /workspacebuilds/{build.id}/logs", (200, [log]))
    return api, workspace


def test_a_dry_run_only_says(cli: Cli, broken: tuple[FakeApi, Workspace]) -> None:
    api, _ = broken
    done = cli("repair", "dev", "-n", "--forget", "x.a[0]", "--forget", "x.b")
    assert done.status == 0, done.err
    for said in ("The last build was lost.", "1. The saved state is taken.", "docker_container.dev", "--to start"):
        assert said in done.out
    assert [a for a in api.asked if a.method == "POST"] == []
    assert next(a for a in api.asked if a.path.endswith("/repair")).query["forget"] == "x.b"


def test_it_does_what_was_shown_after_a_yes(cli: Cli, broken: tuple[FakeApi, Workspace]) -> None:
    api, workspace = broken
    refused = cli("repair", "dev")
    assert refused.status == 1
    assert "--yes" in refused.err
    done = cli("repair", "dev", "--to", "stop", "--yes")
    assert done.status == 0, done.err
    (body,) = api.bodies(f"POST /workspaces/{workspace.id}/repair")
    assert (body["plan_id"], body["transition"], body["accepts_leaving"]) == ("p1", "stop", False)


def test_leaving_resources_needs_its_own_word(cli: Cli, broken: tuple[FakeApi, Workspace]) -> None:
    api, workspace = broken
    api.on(f"GET /workspaces/{workspace.id}/repair", (200, msgspec.structs.replace(PLAN, needs_consent=True)))
    assert "--leave --yes" in cli("repair", "dev", "--yes").err
    assert api.bodies(f"POST /workspaces/{workspace.id}/repair") == []
    assert cli("repair", "dev", "--leave", "--yes").status == 0
    (body,) = api.bodies(f"POST /workspaces/{workspace.id}/repair")
    assert (body["leave"], body["accepts_leaving"]) == (True, True)
