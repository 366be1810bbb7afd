"""create, start, stop, delete, templates push: what is asked of the server, in which order, and what is said."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from devyard.wire.jobs import JobInput, ProvisionerJobLog
from devyard.wire.workspaces import Workspace
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import (
    NOW,
    FakeApi,
    make_agent,
    make_build,
    make_job,
    make_workspace,
    with_agent,
)

VERSION = uuid4()
TEMPLATE = uuid4()
ORGANIZATION = uuid4()


def make_template() -> dict[str, Any]:
    return {
        "id": str(TEMPLATE),
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
        "organization_id": str(ORGANIZATION),
        "organization_name": "default",
        "organization_display_name": "",
        "organization_icon": "",
        "name": "local",
        "display_name": "",
        "provisioner": "terraform",
        "active_version_id": str(VERSION),
        "active_user_count": 0,
        "build_time_stats": {},
        "description": "",
        "deprecated": False,
        "deprecation_message": "",
        "icon": "",
        "default_ttl_ms": 0,
        "activity_bump_ms": 0,
        "autostop_requirement": {},
        "autostart_requirement": {},
        "created_by_id": str(uuid4()),
        "created_by_name": "ada",
        "allow_user_autostart": True,
        "allow_user_autostop": True,
        "allow_user_cancel_workspace_jobs": True,
        "failure_ttl_ms": 0,
        "time_til_dormant_ms": 0,
        "time_til_dormant_autodelete_ms": 0,
        "require_active_version": False,
        "max_port_share_level": "owner",
    }


def make_version(**job: Any) -> dict[str, Any]:
    return {
        "id": str(VERSION),
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
        "name": "v1",
        "message": "",
        "job": msgspec.to_builtins(make_job(**job)),
        "readme": "",
        "created_by": {"id": str(uuid4()), "username": "ada"},
        "archived": False,
    }


PARAMETER = {
    "name": "cpus",
    "description": "",
    "description_plaintext": "",
    "type": "number",
    "form_type": "input",
    "mutable": True,
    "default_value": "2",
    "icon": "",
    "options": [],
    "required": False,
    "ephemeral": False,
    "validation_max": 8,
}


@pytest.fixture
def yard(signed_in: FakeApi) -> tuple[FakeApi, Workspace]:
    workspace = with_agent(make_workspace(), make_agent())
    api = signed_in
    api.on("GET /templates", (200, [make_template()]))
    api.on(f"GET /templateversions/{VERSION}", (200, make_version()))
    api.on(f"GET /templateversions/{VERSION}/rich-parameters", (200, [PARAMETER]))
    api.on(f"GET /templateversions/{VERSION}/presets", (200, []))
    api.on("POST /users/me/workspaces", (201, workspace))
    api.on(f"GET /workspaces/{workspace.id}", (200, workspace))
    serve_build(api, workspace, "succeeded")
    return api, workspace


def serve_build(api: FakeApi, workspace: Workspace, status: str, error: str = "") -> None:
    job = make_job(status, error=error) if error else make_job(status)
    build = msgspec.structs.replace(workspace.latest_build, job=job)
    log = ProvisionerJobLog(1, NOW, "provisioner", "info", "Applying", "Apply complete!")
    api.on(f"GET /workspacebuilds/{build.id}", (200, build))
    api.on(f"GET /workspacebuilds/{build.id}/logs", (200, [log]))


def test_create_sends_checked_values_and_shows_the_log(cli: Cli, yard: tuple[FakeApi, Workspace]) -> None:
    api, _ = yard
    done = cli("create", "dev", "-t", "local", "--parameter", "cpus=4", "--stop-after", "8h", "--yes")
    assert done.status == 0, done.err
    (body,) = api.bodies("POST /users/me/workspaces")
    assert body["name"] == "dev"
    assert body["template_version_id"] == str(VERSION)
    assert body["rich_parameter_values"] == [{"name": "cpus", "value": "4"}]
    assert body["ttl_ms"] == 8 * 3600 * 1000
    assert done.out == "==> Applying\n    Apply complete!\n"
    assert "devyard ssh dev" in done.err


def test_create_refuses_before_it_builds(cli: Cli, yard: tuple[FakeApi, Workspace]) -> None:
    api, workspace = yard
    assert "more than the maximum 8" in cli("create", "dev", "-t", "local", "--parameter", "cpus=9", "--yes").err
    assert "no template 'other'" in cli("create", "dev", "-t", "other", "--yes").err
    api.on("GET /users/me/workspace/dev", (200, workspace))
    assert "a workspace 'dev' already" in cli("create", "dev", "-t", "local", "--yes").err
    assert api.bodies("POST /users/me/workspaces") == []


def test_a_failed_build_says_why(cli: Cli, yard: tuple[FakeApi, Workspace]) -> None:
    api, workspace = yard
    serve_build(api, workspace, "failed", "no quota left")
    done = cli("create", "dev", "-t", "local", "--yes")
    assert done.status == 1
    assert "Build 1 of ada/dev (start) failed: no quota left" in done.err
    assert "Apply complete!" in done.out


@pytest.mark.parametrize("presses", [1, 2])
def test_a_second_ctrl_c_cancels_the_build(
    cli: Cli, yard: tuple[FakeApi, Workspace], monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    api, workspace = yard
    build = workspace.latest_build
    job = make_job("running", input=JobInput(workspace_build_id=build.id))
    api.on(f"GET /workspacebuilds/{build.id}", (200, msgspec.structs.replace(build, job=job)))
    api.on(f"PATCH /workspacebuilds/{build.id}/cancel", (200, {"message": ""}))

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("devyard.cli.joblog.follow_job_log", press)
    monkeypatch.setattr(
        "devyard.cli.joblog.time", SimpleNamespace(sleep=press if presses == 2 else lambda _: None)
    )
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    done = cli("create", "dev", "-t", "local", "--yes")
    assert done.status == 130
    assert "Build 1 of ada/dev goes on without you." in done.err
    canceled = [a for a in api.asked if a.method == "PATCH"]
    assert len(canceled) == presses - 1
    assert ("is being canceled" in done.err) == (presses == 2)


@pytest.mark.parametrize(
    ("words", "transition", "reason"),
    [
        (("start", "dev", "--yes", "--reason", "vscode_connection"), "start", "vscode_connection"),
        (("stop", "dev", "--yes"), "stop", "cli"),
        (("delete", "ada/dev", "--yes"), "delete", "cli"),
        (("rm", "dev", "-y", "--orphan"), "delete", "cli"),
    ],
)
def test_transitions(
    cli: Cli, yard: tuple[FakeApi, Workspace], words: tuple[str, ...], transition: str, reason: str
) -> None:
    api, workspace = yard
    before = make_build(workspace.id, status="stopped" if transition == "start" else "running")
    for owner in ("me", "ada"):
        found = msgspec.structs.replace(workspace, latest_build=before)
        api.on(f"GET /users/{owner}/workspace/dev", (200, found))
    api.on(f"POST /workspaces/{workspace.id}/builds", (201, workspace.latest_build))
    done = cli(*words)
    assert done.status == 0, done.err
    (body,) = api.bodies(f"POST /workspaces/{workspace.id}/builds")
    assert (body["transition"], body["reason"], body["orphan"]) == (transition, reason, "--orphan" in words)


def test_what_can_not_be_undone_needs_a_yes(cli: Cli, yard: tuple[FakeApi, Workspace]) -> None:
    api, workspace = yard
    api.on("GET /users/me/workspace/dev", (200, workspace))
    done = cli("delete", "dev")
    assert done.status == 1
    assert "--yes" in done.err
    assert api.bodies(f"POST /workspaces/{workspace.id}/builds") == []


def prepare_push(api: FakeApi, status: str = "succeeded", **job: Any) -> None:
    organization = {
        "id": str(ORGANIZATION),
        "name": "default",
        "display_name": "",
        "icon": "",
        "description": "",
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
        "is_default": True,
    }
    api.on("GET /users/me/organizations", (200, [organization]))
    api.on("POST /files", (201, {"hash": str(uuid4())}))
    api.on(f"POST /organizations/{ORGANIZATION}/templateversions", (201, make_version()))
    api.on(f"GET /templateversions/{VERSION}", (200, make_version(status=status, **job)))
    api.on(f"GET /templateversions/{VERSION}/logs", (200, []))
    api.on(f"POST /organizations/{ORGANIZATION}/templates", (201, make_template()))
    api.on(f"PATCH /templates/{TEMPLATE}/versions", (200, {"message": "done"}))


def test_push_makes_a_template_and_later_promotes(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    prepare_push(signed_in)
    (tmp_path / "main.tf").write_text("")
    words = ("templates", "push", "local", "-d", str(tmp_path), "--yes", "--var", "a=b=c", "-m", "first")
    assert cli(*words).status == 0
    (made,) = signed_in.bodies(f"POST /organizations/{ORGANIZATION}/templates")
    assert (made["name"], made["template_version_id"]) == ("local", str(VERSION))
    (version,) = signed_in.bodies(f"POST /organizations/{ORGANIZATION}/templateversions")
    assert version["user_variable_values"] == [{"name": "a", "value": "b=c"}]
    upload = next(a for a in signed_in.asked if a.path == "/files")
    assert upload.headers["content-type"] == "application/x-tar"

    signed_in.on(f"GET /organizations/{ORGANIZATION}/templates/local", (200, make_template()))
    assert cli(*words).status == 0
    assert signed_in.bodies(f"PATCH /templates/{TEMPLATE}/versions") == [{"id": str(VERSION)}]
    assert cli(*words, "--activate=false").status == 0
    assert len(signed_in.bodies(f"PATCH /templates/{TEMPLATE}/versions")) == 1


def test_a_failed_import_makes_no_template(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    prepare_push(signed_in, status="failed", error="main.tf line 3: unsupported block")
    (tmp_path / "main.tf").write_text("")
    done = cli("templates", "push", "local", "-d", str(tmp_path), "--yes")
    assert done.status == 1
    assert "main.tf line 3" in done.err
    assert signed_in.bodies(f"POST /organizations/{ORGANIZATION}/templates") == []


def test_missing_variables_are_asked_once_and_sent(
    cli: Cli, signed_in: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = {"error": "Variables need values: region.", "error_code": "REQUIRED_TEMPLATE_VARIABLES"}
    prepare_push(signed_in, status="failed", **lacks)
    (tmp_path / "main.tf").write_text("")
    shape = {"name": "region", "description": "Where.", "type": "string", "value": "", "default_value": ""}
    variable = {**shape, "required": True, "sensitive": False}
    signed_in.on(f"GET /templateversions/{VERSION}/variables", (200, [variable]))
    words = ("templates", "push", "local", "-d", str(tmp_path))
    assert "--variable region=VALUE" in cli(*words, "--yes").err

    def answer(*_: object, **__: object) -> str:
        signed_in.on(f"GET /templateversions/{VERSION}", (200, make_version()))
        return "eu"

    monkeypatch.setattr("click.prompt", answer)
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert cli(*words, "--force-tty").status == 0
    *_, last = signed_in.bodies(f"POST /organizations/{ORGANIZATION}/templateversions")
    assert last["user_variable_values"] == [{"name": "region", "value": "eu"}]


def test_a_defect_is_one_line_and_a_file(cli: Cli, signed_in: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unexpected thing")

    monkeypatch.setattr("devyard.cli.settings.Settings.client", fail)
    done = cli("list")
    assert done.status == 1
    assert "Traceback" not in done.err
    path = Path(next(word for word in done.err.split() if word.endswith(".log;")).rstrip(";"))
    assert "unexpected thing" in path.read_text()
    path.unlink()


def test_every_command_loads_and_has_help(cli: Cli) -> None:
    from devyard.cli.root import COMMANDS

    for name in COMMANDS:
        done = cli(name, "--help")
        assert done.status == 0, (name, done.err)
        assert "Usage: devyard" in done.out


def test_a_group_alone_is_its_help_and_near_misses_are_named_once(cli: Cli) -> None:
    assert "See:" not in cli("provisioner").err
    assert "Did you mean list?" in cli("lst").err


def test_a_locale_without_a_character_ends_no_command() -> None:
    command = [sys.executable, "-m", "devyard", "templates", "delete", "--help"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert b"NAME?" in done.stdout
