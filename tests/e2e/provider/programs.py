"""Terraform as a plain command beside a provider that is a process of its own: served, or started by Terraform."""

import asyncio
import os
import stat
import sys
from hashlib import sha256
from pathlib import Path

from tests.e2e.provider.conftest import Result

SOURCE = Path(__file__).parents[3] / "src"

TEMPLATE = """
terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 2.13" }
  }
}
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_parameter" "size" {
  name    = "size"
  default = "small"
  option {
    name  = "Small"
    value = "small"
  }
  option {
    name  = "Large"
    value = "large"
  }
}
resource "coder_agent" "main" {
  count = data.coder_workspace.me.start_count
  os    = "linux"
  arch  = "amd64"
}
output "who" {
  value = join(" ", [
    data.coder_workspace.me.name, data.coder_workspace_owner.me.name, data.coder_parameter.size.value
  ])
}
output "script" { value = coder_agent.main[*].init_script }
"""


def parameter(name: str) -> str:
    """The variable that gives a parameter its value."""
    return f"CODER_PARAMETER_{sha256(name.encode()).hexdigest()}"


def make_executable(directory: Path, name: str) -> Path:
    """The plugin as the wheel installs it: a script of this interpreter."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(SOURCE)!r})\n"
        "from devyard.provisioner.plugin.executable import main\nmain()\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def run(command: list[str], folder: Path, *words: str, **environment: str) -> Result:
    """Runs Terraform in `folder` with these variables and few others."""
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    process = await asyncio.create_subprocess_exec(
        *command,
        *words,
        cwd=folder,
        env=own | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return Result(process.returncode or 0, output.decode())
