"""A workspace in a container of a real engine: built, entered, stopped with its volume kept, deleted."""

from pathlib import Path

from tests.e2e.containers.conftest import Engine
from tests.e2e.main_job.conftest import Devyard, devyard

__all__ = ["devyard"]

TEMPLATE = """
terraform {
  required_providers {
    devyard = { source = "devyard/devyard" }
  }
}

variable "docker" { type = string }
variable "run_options" { type = string }
variable "image" { type = string }

data "devyard_workspace" "me" {}
data "devyard_provisioner" "me" {}

resource "devyard_agent" "main" {
  os   = "linux"
  arch = data.devyard_provisioner.me.arch
}

resource "terraform_data" "home" {
  input = { name = "home-${data.devyard_workspace.me.id}", docker = var.docker }

  provisioner "local-exec" {
    command = "${self.input.docker} volume create ${self.input.name}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "${self.input.docker} volume rm ${self.input.name}"
  }
}

resource "terraform_data" "container" {
  count            = data.devyard_workspace.me.start_count
  triggers_replace = devyard_agent.main.id
  input = {
    name   = "workspace-${data.devyard_workspace.me.id}"
    docker = var.docker
    volume = terraform_data.home.output.name
  }

  provisioner "local-exec" {
    environment = {
      INIT_SCRIPT       = devyard_agent.main.init_script
      CODER_AGENT_TOKEN = devyard_agent.main.token
    }
    command = join(" ", [
      self.input.docker, "run -d --pull=never --network host --name", self.input.name,
      "-v", "${self.input.volume}:/home/dev", "-e HOME=/home/dev -e CODER_AGENT_TOKEN -w /home/dev",
      var.run_options, var.image, "sh -c \\"$INIT_SCRIPT\\"",
    ])
  }
  provisioner "local-exec" {
    when    = destroy
    command = "${self.input.docker} rm -f ${self.input.name}"
  }
}
"""


def test_a_workspace_in_a_container(devyard: Devyard, engine: Engine, borrowed: str, tmp_path: Path) -> None:
    directory = tmp_path / "containers"
    directory.mkdir()
    (directory / "main.tf").write_text(TEMPLATE, encoding="utf-8")
    variables = {"docker": f"docker -H {engine.host}", "run_options": borrowed, "image": engine.image}
    given = [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
    devyard.run("templates", "push", "containers", "-d", str(directory), "--yes", *given)
    devyard.run("create", "--template", "containers", "boxed", "--yes")

    inside = devyard.run(
        "ssh", "boxed", "--", "cat /proc/1/cmdline | tr '\\0' ' '; echo kept > ~/file; id -u"
    ).stdout
    assert "agent" in inside
    assert inside.rstrip().endswith("0")
    names = engine.docker("ps", "--format", "{{.Names}}").split()
    assert len(names) == 1
    assert names[0].startswith("workspace-")

    devyard.run("stop", "boxed", "--yes")
    assert engine.docker("ps", "-a", "-q").split() == []
    assert len(engine.docker("volume", "ls", "-q").split()) == 1

    devyard.run("start", "boxed", "--yes")
    assert devyard.run("ssh", "boxed", "--", "cat ~/file").stdout == "kept\n"

    devyard.run("delete", "boxed", "--yes")
    assert engine.docker("ps", "-a", "-q").split() == []
    assert engine.docker("volume", "ls", "-q").split() == []
