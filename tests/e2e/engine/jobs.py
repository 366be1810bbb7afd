"""Jobs and templates that the tests of this folder share."""

from uuid import uuid4

from devyard.wire.enums import Transition
from devyard.wire.provisionerlink import BuildJob, DryRunJob, ImportJob, Variable, WorkspaceContext

from .linkserver import pack

SESSION_TOKEN = "session-token-of-the-owner-123456"

FULL = """
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}

variable "image" {
  description = "What to run"
  type        = string
  default     = "debian"
}

data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}

data "coder_parameter" "size" {
  name    = "size"
  type    = "number"
  default = "2"
  mutable = true
  validation {
    min = 1
    max = 8
  }
}

data "coder_workspace_preset" "big" {
  name       = "Big"
  parameters = { size = "8" }
}

locals {
  agent_id = coder_agent.main.id
}

resource "coder_agent" "main" {
  os                      = "linux"
  arch                    = "amd64"
  dir                     = "/home/dev"
  startup_script          = "echo hello"
  startup_script_behavior = "blocking"
  shutdown_script         = "echo bye"
  env                     = { PATH = "/bin", OWN = "1" }
  metadata {
    key          = "cpu"
    display_name = "CPU"
    script       = "cat /proc/loadavg"
    interval     = 10
    timeout      = 1
  }
}

resource "coder_app" "code" {
  agent_id     = local.agent_id
  slug         = "code"
  display_name = "code-server"
  url          = "http://localhost:13337"
  subdomain    = true
  share        = "authenticated"
  healthcheck {
    url       = "http://localhost:13337/healthz"
    interval  = 5
    threshold = 6
  }
}

resource "coder_script" "tools" {
  agent_id     = coder_agent.main.id
  display_name = "Tools"
  script       = "echo tools"
  run_on_start = true
  timeout      = 60
}

resource "coder_env" "path" {
  agent_id       = coder_agent.main.id
  name           = "PATH"
  value          = "/opt/bin"
  merge_strategy = "append"
}

resource "terraform_data" "disk" {
  input = data.coder_workspace.me.name
}

resource "terraform_data" "machine" {
  count            = data.coder_workspace.me.start_count
  input            = { size = data.coder_parameter.size.value, image = var.image, disk = terraform_data.disk.id }
  triggers_replace = coder_agent.main.token
}

resource "coder_metadata" "machine" {
  count       = data.coder_workspace.me.start_count
  resource_id = terraform_data.machine[0].id
  icon        = "/icon/debian.svg"
  daily_cost  = 17
  item {
    key   = "size"
    value = data.coder_parameter.size.value
  }
  item {
    key       = "hidden"
    value     = "x"
    sensitive = true
  }
}
"""
"""An agent with everything that can refer to it, and resources that come and go."""

SLOW = """
data "coder_workspace" "me" {}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "terraform_data" "quick" {
  input = coder_agent.main.id
}

resource "terraform_data" "slow" {
  count      = data.coder_workspace.me.start_count
  depends_on = [terraform_data.quick]
  provisioner "local-exec" {
    command = "echo slow-begins; exec sleep ${SECONDS}"
  }
}
"""


def slow_template(seconds: str) -> bytes:
    """A start that makes two resources at once and then waits; `seconds` is recognisable in a process list."""
    return pack({"main.tf": SLOW.replace("${SECONDS}", seconds)})


def make_context(**values: object) -> WorkspaceContext:
    return WorkspaceContext(
        access_url="http://127.0.0.1:7080",
        **{
            "workspace_id": str(uuid4()),
            "workspace_name": "dev",
            "build_id": str(uuid4()),
            "template_id": str(uuid4()),
            "template_name": "full",
            "template_version": "one",
            "owner_id": str(uuid4()),
            "owner_name": "ann",
            "owner_email": "ann@example.com",
            "owner_session_token": SESSION_TOKEN,
            **values,
        },
    )


def import_job(*variables: Variable) -> ImportJob:
    context = WorkspaceContext(access_url="http://127.0.0.1:7080", template_name="full", template_version="one")
    return ImportJob(context, variables)


def build_job(transition: Transition = "start", state: bytes = b"", **values: object) -> BuildJob:
    arguments = {"parameters": {}, "previous_parameters": {}, "agent_resources": {}, **values}
    return BuildJob(
        context=arguments.pop("context", None) or make_context(), transition=transition, state=state, **arguments
    )


def dry_run_job(**values: object) -> DryRunJob:
    return DryRunJob(context=make_context(), **{"parameters": {}, "agent_resources": {}, **values})
