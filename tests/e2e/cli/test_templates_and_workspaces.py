"""Templates with parameters, and workspaces of them, by the commands that people type; told in order."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.e2e.cli.templates_for_tests import (
    PARAMETERS,
    PRESET,
    RESOURCE,
    SLOW,
    VARIABLE,
    ZONE,
    Terminal,
    write_template,
)
from tests.e2e.main_job.conftest import Devyard

pytestmark = pytest.mark.slow


def parameters_of(devyard: Devyard, name: str) -> dict[str, str]:
    """The last build's values that stay."""
    token = (Path(devyard.environment["HOME"]) / ".config" / "devyard" / "session").read_text().strip()
    headers = {"Coder-Session-Token": token}
    workspace = httpx.get(f"{devyard.url}/api/v2/users/me/workspace/{name}", headers=headers).json()
    build = workspace["latest_build"]["id"]
    reply = httpx.get(f"{devyard.url}/api/v2/workspacebuilds/{build}/parameters", headers=headers)
    return {item["name"]: item["value"] for item in reply.json() if item["name"] != "wipe"}


def test_a_template_is_pushed_from_a_directory_and_from_stdin(devyard: Devyard, tmp_path: Path) -> None:
    directory = write_template(tmp_path / "first", PARAMETERS, PRESET, RESOURCE)
    done = devyard.run("templates", "push", "sized", "-d", str(directory), "--name", "one", "-m", "first", "-y")
    assert "version one is imported and active" in done.stderr
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(write_template(tmp_path / "second", PARAMETERS, PRESET, RESOURCE, ZONE), ".")
    words = ("templates", "push", "sized", "-d", "-", "--name", "two", "--activate=false")
    done = devyard.run(*words, input=archive.getvalue())
    assert "not active yet" in done.stderr
    versions = json.loads(devyard.run("templates", "versions", "list", "sized", "-o", "json").stdout)
    assert {version["name"] for version in versions} == {"one", "two"}
    assert "us" in devyard.run("templates", "presets", "list", "sized").stdout


def test_wrong_names_are_answered_with_near_ones(devyard: Devyard) -> None:
    assert "Did you mean sized?" in devyard.run("create", "x", "-t", "sizd", "-y", check=False).stderr
    assert (
        "Did you mean one?"
        in devyard.run(
            "templates", "versions", "promote", "-t", "sized", "--template-version", "onee", check=False
        ).stderr
    )


def test_missing_values_are_named_at_once(devyard: Devyard) -> None:
    refused = devyard.run("create", "box", "-t", "sized", "-y", check=False)
    assert refused.returncode == 1
    assert "--parameter size=VALUE" in refused.stderr
    assert "at least 1, at most 8" in refused.stderr


def test_create_asks_shows_the_plan_and_builds(devyard: Devyard) -> None:
    terminal = Terminal(devyard, "create", "box", "--template", "sized")
    terminal.expect("Preset [none]:")
    terminal.answer("")
    terminal.expect("region [eu]:")
    terminal.answer("America")
    terminal.expect("size:")
    terminal.answer("9")
    terminal.expect("more than the maximum 8")
    terminal.answer("3")
    terminal.expect("terraform_data.thing")
    terminal.expect("[Y/n]:")
    terminal.answer("y")
    assert terminal.finish() == 0, terminal.said
    assert "wipe" not in terminal.said
    assert parameters_of(devyard, "box") == {"region": "us", "size": "3"}


def test_a_preset_a_copy_and_a_file_give_values(devyard: Devyard, tmp_path: Path) -> None:
    devyard.run("create", "preset", "-t", "sized", "--preset", "small", "-y")
    assert parameters_of(devyard, "preset") == {"region": "us", "size": "2"}
    file = tmp_path / "values.json"
    file.write_text('{"size": 5}')
    devyard.run(
        "create",
        "copied",
        "-t",
        "sized",
        "--copy-parameters-from",
        "box",
        "--rich-parameter-file",
        str(file),
        "-y",
    )
    assert parameters_of(devyard, "copied") == {"region": "us", "size": "5"}
    devyard.run("delete", "preset", "-y", "--no-wait")
    orphan = devyard.run("delete", "copied", "--orphan", check=False)
    assert "terraform_data.thing" in orphan.stderr
    assert "--yes" in orphan.stderr
    devyard.run("delete", "copied", "--orphan", "-y")


def test_restart_takes_new_and_ephemeral_values(devyard: Devyard) -> None:
    refused = devyard.run("restart", "box", "--parameter", "region=eu", "-y", check=False)
    assert "can only be set when a workspace is created" in refused.stderr
    devyard.run("restart", "box", "--parameter", "size=4", "--ephemeral-parameter", "wipe=true", "-y")
    assert parameters_of(devyard, "box")["size"] == "4"
    devyard.run("stop", "box", "-y")
    started = devyard.run("start", "box", "-y", "-v")
    assert "Timings" in started.stderr


def test_update_asks_only_for_what_is_new(devyard: Devyard) -> None:
    terminal = Terminal(devyard, "update", "box", "--template-version", "two")
    terminal.expect("New in this version: zone")
    terminal.expect("zone [a]:")
    terminal.answer("b")
    terminal.expect("[Y/n]:")
    terminal.answer("")
    assert terminal.finish() == 0, terminal.said
    assert "region [" not in terminal.said
    assert parameters_of(devyard, "box") == {"region": "us", "size": "4", "zone": "b"}


def test_settings_of_a_template_and_its_versions(devyard: Devyard, tmp_path: Path) -> None:
    devyard.run("templates", "edit", "sized", "--display-name", "Sized", "--default-ttl", "8h", "-y")
    (template,) = json.loads(devyard.run("templates", "list", "-o", "json").stdout)
    assert (template["display_name"], template["default_ttl_ms"]) == ("Sized", 8 * 3600 * 1000)
    done = devyard.run("templates", "versions", "archive", "sized", "one", "-y", check=False)
    assert "is the active one" in done.stderr
    zipped = tmp_path / "two.zip"
    devyard.run("templates", "pull", "sized", str(zipped), "--version", "two", "--zip")
    assert zipfile.ZipFile(zipped).namelist() == ["main.tf"]
    devyard.run("templates", "pull", "sized", str(tmp_path / "pulled"))
    assert "zone" not in (tmp_path / "pulled" / "main.tf").read_text()
    refused = devyard.run("templates", "delete", "sized", "-y", check=False)
    assert "devyard list --search template:sized" in refused.stderr


def test_weekdays_switches_and_archived_versions(devyard: Devyard) -> None:
    words = ("--autostop-requirement-weekdays", "sunday,monday", "--require-active-version", "-y")
    devyard.run("templates", "edit", *words, "sized")
    (template,) = json.loads(devyard.run("templates", "list", "-o", "json").stdout)
    assert sorted(template["autostop_requirement"]["days_of_week"]) == ["monday", "sunday"]
    assert template["require_active_version"] is True
    devyard.run("templates", "edit", "--require-active-version=false", "-y", "sized")
    devyard.run("templates", "versions", "promote", "-t", "sized", "--template-version", "two")
    assert "1 version archived" in devyard.run("templates", "archive", "sized", "--all", "-y").stderr
    listed = devyard.run("templates", "versions", "list", "sized", "-c", "name").stdout.split()
    assert "one" not in listed
    devyard.run("templates", "versions", "unarchive", "sized", "one", "-y")
    assert "one" in devyard.run("templates", "versions", "list", "sized", "-c", "name").stdout.split()


def test_missing_variables_are_named(devyard: Devyard, tmp_path: Path) -> None:
    directory = write_template(tmp_path / "v", VARIABLE, RESOURCE)
    words = ("templates", "create", "keyed", "-d", str(directory), "-y")
    refused = devyard.run(*words, check=False)
    assert refused.returncode == 1
    assert "access" in refused.stderr
    assert "--variable NAME=VALUE" in refused.stderr
    done = devyard.run(*words, "--variable", "access=hidden-word")
    assert "hidden-word" not in done.stdout + done.stderr
    devyard.run("templates", "delete", "keyed", "-y")


def test_state_is_pulled_and_pushed(devyard: Devyard, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    devyard.run("state", "pull", "box", str(file))
    assert json.loads(file.read_text())["version"] == 4
    assert "is replaced" in devyard.run("state", "push", "box", str(file), "--no-build").stderr
    file.write_text("[]")
    assert "no Terraform state" in devyard.run("state", "push", "box", str(file), check=False).stderr


def test_a_running_build_is_left_and_canceled(devyard: Devyard, tmp_path: Path) -> None:
    directory = write_template(tmp_path / "slow", RESOURCE, SLOW)
    devyard.run("templates", "push", "slow", "-d", str(directory), "-y")
    terminal = Terminal(devyard, "create", "lazy", "-t", "slow", "-y")
    terminal.expect("terraform_data.slow[0]")
    terminal.press(b"\x03")
    terminal.expect("devyard cancel ada/lazy")
    assert terminal.finish() == 130
    canceled = devyard.run("cancel", "lazy", "-y")
    assert "is canceled" in canceled.stderr
    (job, *_) = json.loads(devyard.run("provisioner", "jobs", "list", "-o", "json", "-l", "1").stdout)
    assert job["status"] == "canceled"


def test_a_job_that_nobody_takes_says_so(devyard: Devyard, tmp_path: Path) -> None:
    directory = write_template(tmp_path / "elsewhere", RESOURCE)
    terminal = Terminal(
        devyard, "templates", "push", "far", "-d", str(directory), "--provisioner-tag", "cluster=moon", "-y"
    )
    terminal.expect("no provisioner can take this job now.")
    terminal.expect("devyard provisioner start --tag cluster=moon")
    terminal.expect("Waiting for a provisioner")
    terminal.press(b"\x03")
    terminal.expect("Press Ctrl-C again now to cancel it")
    terminal.press(b"\x03")
    terminal.expect("is being canceled")
    assert terminal.finish() == 130
    listed = devyard.run("provisioner", "list", "-c", "name,status,previous job").stdout
    assert "idle" in listed
