"""A workspace's life: plan, create, nothing to change, stop, start, destroy."""

from devyard.provisioner.context import BuildContext
from tests.e2e.provider.conftest import Terraform

TEMPLATE = """
terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 2.13" }
  }
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}

data "coder_parameter" "cpus" {
  name    = "cpus"
  type    = "number"
  default = 2
  mutable = true
  validation {
    min = 1
    max = 8
  }
}

resource "coder_agent" "main" {
  os   = data.coder_provisioner.me.os
  arch = "amd64"
  env  = { GIT_AUTHOR_NAME = data.coder_workspace_owner.me.name }
  display_apps {
    vscode = false
  }
  metadata {
    key      = "load"
    script   = "uptime"
    interval = 10
  }
  resources_monitoring {
    memory {
      enabled   = true
      threshold = 80
    }
    volume {
      path      = "/home"
      enabled   = true
      threshold = 90
    }
    volume {
      path      = "/data"
      enabled   = false
      threshold = 95
    }
  }
}

resource "coder_app" "code" {
  agent_id = coder_agent.main.id
  slug     = "code"
  url      = "http://localhost:8080"
  healthcheck {
    url       = "http://localhost:8080/healthz"
    interval  = 3
    threshold = 10
  }
}

resource "coder_script" "hello" {
  agent_id     = coder_agent.main.id
  display_name = "Hello"
  script       = "echo hello"
  run_on_start = true
}

resource "coder_env" "editor" {
  agent_id = coder_agent.main.id
  name     = "EDITOR"
  value    = "vi"
}

resource "terraform_data" "machine" {
  count = data.coder_workspace.me.start_count
  input = [sha256(coder_agent.main.init_script), coder_agent.main.token, data.coder_parameter.cpus.value]
}

resource "coder_metadata" "machine" {
  count       = data.coder_workspace.me.start_count
  resource_id = terraform_data.machine[0].id
  item {
    key   = "cpus"
    value = data.coder_parameter.cpus.value
  }
  item {
    key = "gpu"
  }
}
"""


def start(build: str = "b1", transition: str = "start", **more: object) -> BuildContext:
    return BuildContext(
        access_url="http://127.0.0.1:7080",
        transition=transition,
        build_id=build,
        workspace_id="w1",
        workspace_name="dev",
        template_id="t1",
        template_name="local",
        template_version="one",
        owner_name="ada",
        agent_init_scripts={"linux/amd64": "#!/bin/sh\nfetch ${ACCESS_URL}/bin ${AUTH_TYPE}\n"},
        **more,
    )


async def test_create_then_nothing_to_change(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    planned = await terraform.plan(start())
    assert planned.code == 0, planned.output
    assert "token" in planned.output
    assert "+ init_script                   = (known after apply)" in planned.output or (
        "init_script" in planned.output and "(known after apply)" in planned.output
    )
    state = await terraform.apply_well(start(parameters={"cpus": "4"}))
    agent = state["coder_agent.main"]
    assert agent["init_script"] == "#!/bin/sh\nfetch http://127.0.0.1:7080/bin token\n"
    assert agent["env"] == {"GIT_AUTHOR_NAME": "ada"}
    assert agent["display_apps"][0]["vscode"] is False
    assert agent["display_apps"][0]["web_terminal"] is True
    assert state["data.coder_parameter.cpus"]["value"] == "4"
    assert state["coder_metadata.machine[0]"]["item"][1]["is_null"] is True
    created = [resource.type for resource in terraform.capture.created]
    assert created[0] == "agent"
    assert sorted(created) == ["agent", "app", "env", "metadata", "script"]
    again = await terraform.plan(start(parameters={"cpus": "4"}), "-detailed-exitcode")
    assert again.code == 0, again.output


async def test_stop_start_and_destroy(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    first = await terraform.apply_well(start("b1"))
    stopped = await terraform.apply_well(start("b2", "stop"))
    assert "terraform_data.machine[0]" not in stopped
    assert stopped["coder_agent.main"]["id"] == first["coder_agent.main"]["id"]
    third = await terraform.apply_well(start("b3"))
    assert third["coder_agent.main"]["token"] != first["coder_agent.main"]["token"]
    assert third["terraform_data.machine[0]"]["input"]["value"][1] == third["coder_agent.main"]["token"]
    destroyed = await terraform.run(
        "destroy", "-auto-approve", "-no-color", "-input=false", context=start("b4", "delete")
    )
    assert destroyed.code == 0, destroyed.output
    assert terraform.state() == {}
    assert "agent" in [resource.type for resource in terraform.capture.destroyed]
