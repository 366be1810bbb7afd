"""`devyard provider serve` as test suites use it: one process, many Terraforms with values of their own."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.provider.conftest import BACKENDS
from tests.e2e.provider.programs import SOURCE, TEMPLATE, parameter, run


class Served:
    """A running `provider serve` and the first line that it printed."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, value: str) -> None:
        self.folder = folder
        self.process = process
        self.value = value

    @property
    def env_file(self) -> Path:
        return self.folder / "provider.env"

    def template(self, name: str, text: str = TEMPLATE) -> Path:
        folder = self.folder / name
        folder.mkdir()
        (folder / "main.tf").write_text(text)
        return folder


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "CODER_WORKSPACE_OWNER": "ann"}
    words = ["-m", "devyard", "provider", "serve", "--env-file", str(folder / "provider.env")]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        "--socket-dir",
        str(folder),
        cwd=folder,
        env=environment | {"HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    yield Served(folder, process, line.decode().strip())
    if process.returncode is None:
        process.terminate()
        await asyncio.wait_for(process.wait(), 15)
    shutil.rmtree(folder)


async def test_several_terraforms_at_once_get_their_own_values(served: Served) -> None:
    commands = list(BACKENDS.values())

    async def plan(number: int) -> str:
        folder = served.template(f"t{number}")
        result = await run(
            commands[number % len(commands)],
            folder,
            *("apply", "-auto-approve", "-no-color", "-input=false"),
            TF_REATTACH_PROVIDERS=served.value,
            CODER_WORKSPACE_NAME=f"dev{number}",
            **{parameter("size"): ("small", "large")[number % 2]},
        )
        assert result.code == 0, result.output
        return result.text

    texts = await asyncio.gather(*(plan(number) for number in range(4)))
    for number, text in enumerate(texts):
        assert f'who = "dev{number} ann {("small", "large")[number % 2]}"' in text
        assert "exec devyard agent" in text  # the agent's script, though no server gave one


async def test_the_environment_of_terraform_is_checked(served: Served) -> None:
    folder = served.template("t")
    command = next(iter(BACKENDS.values()))
    attached = {"TF_REATTACH_PROVIDERS": served.value}
    wrong = await run(command, folder, "plan", "-no-color", **attached, CODER_WORKSPACE_TRANSITION="sideways")
    assert wrong.code == 1
    assert 'CODER_WORKSPACE_TRANSITION is "sideways"; use start, stop or delete.' in wrong.text
    refused = await run(command, folder, "plan", "-no-color", **attached, **{parameter("size"): "huge"})
    assert "Value must be a valid option" in refused.text
    stopped = await run(command, folder, "plan", "-no-color", **attached, CODER_WORKSPACE_TRANSITION="stop")
    assert stopped.code == 0, stopped.output
    assert "coder_agent" not in stopped.output


async def test_it_can_be_read_from_a_file_and_ends_cleanly(served: Served) -> None:
    script = f'. {served.env_file}; printf %s "$TF_REATTACH_PROVIDERS"'
    shell = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    text, _ = await shell.communicate()
    assert text.decode() == served.value
    entry = json.loads(served.value)["registry.terraform.io/coder/coder"]
    assert entry["Pid"] != served.process.pid
    os.kill(entry["Pid"], 0)
    served.process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(served.process.wait(), 15) == 0
    assert not served.env_file.exists()
    assert not Path(entry["Addr"]["String"]).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(entry["Pid"], 0)


async def test_modules_with_mocks_and_overrides(served: Served) -> None:
    """`mock_provider`, `override_data` and `expect_failures` beside the real provider."""
    folder = served.template(
        "module",
        """
        terraform {
          required_providers {
            coder = { source = "coder/coder" }
          }
        }
        variable "agent_id" { default = "a" }
        variable "ides" { default = ["IC"] }
        variable "root" { default = "/" }
        data "coder_workspace" "me" {}
        data "coder_parameter" "ide" {
          count     = length(var.ides) > 0 ? 1 : 0
          name      = "ide"
          type      = "list(string)"
          form_type = "multi-select"
          default   = jsonencode(var.ides)
          dynamic "option" {
            for_each = ["IC", "PY"]
            content {
              name  = option.value
              value = option.value
            }
          }
        }
        resource "coder_script" "prepare" {
          agent_id     = var.agent_id
          display_name = "Prepare"
          script       = "true"
          run_on_start = true
          lifecycle {
            precondition {
              condition     = startswith(var.root, "/")
              error_message = "root has to be absolute."
            }
          }
        }
        resource "coder_app" "ide" {
          for_each = toset(try(jsondecode(data.coder_parameter.ide[0].value), []))
          agent_id = var.agent_id
          slug     = "jetbrains-${lower(each.key)}"
          external = true
          url      = "jetbrains://x/y?workspace=${data.coder_workspace.me.name}&token=$SESSION_TOKEN"
        }
        """,
    )
    (folder / "main.tftest.hcl").write_text(
        """
        run "one" {
          command = plan
          override_data {
            target = data.coder_workspace.me
            values = { name = "overridden" }
          }
          assert {
            condition     = strcontains(coder_app.ide["IC"].url, "workspace=overridden&")
            error_message = coder_app.ide["IC"].url
          }
        }
        run "other_default" {
          command = plan
          variables { ides = ["PY", "IC"] }
          assert {
            condition     = length(coder_app.ide) == 2
            error_message = "another default in another run is no clash"
          }
        }
        run "wrong" {
          command         = plan
          variables { root = "here" }
          expect_failures = [coder_script.prepare]
        }
        """
    )
    (folder / "mocked.tftest.hcl").write_text(
        """
        mock_provider "coder" {
          mock_data "coder_workspace" { defaults = { name = "mocked" } }
        }
        run "mocked" {
          assert {
            condition     = data.coder_workspace.me.name == "mocked" && length(coder_app.ide) == 0
            error_message = "not mocked"
          }
        }
        """
    )

    async def test(command: list[str], place: Path) -> None:
        attached = {"TF_REATTACH_PROVIDERS": served.value}
        made = await run(command, place, "init", "-no-color", **attached)
        assert made.code == 0, made.output
        tested = await run(command, place, "test", "-no-color", **attached)
        assert "4 passed, 0 failed" in tested.output, tested.output

    places = []
    for name in BACKENDS:
        places.append(served.folder / f"module-{name}")
        shutil.copytree(folder, places[-1])
    await asyncio.gather(*map(test, BACKENDS.values(), places))
