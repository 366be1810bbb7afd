"""`devyard_sandbox` and its home through a workspace's life, with a fake runtime and real Terraform."""

from devyard.provisioner.context import BuildContext
from tests.e2e.provider.conftest import Terraform

TEMPLATE = """
data "devyard_workspace" "me" {}
resource "devyard_agent" "main" {
  os   = "linux"
  arch = "amd64"
}
resource "devyard_sandbox_home" "home" {}
resource "devyard_sandbox" "main" {
  count       = data.devyard_workspace.me.start_count
  home_id     = devyard_sandbox_home.home.id
  init_script = devyard_agent.main.init_script
  env         = { CODER_AGENT_TOKEN = devyard_agent.main.token }
  cpus        = 1.5
  memory_mb   = 512
  hostname    = data.devyard_workspace.me.name
}
"""


def build(number: int, transition: str = "start") -> BuildContext:
    return BuildContext(
        build_id=f"b{number}",
        transition=transition,
        workspace_id="w1",
        workspace_name="dev",
        template_id="t",
        template_name="t",
        template_version="v",
        agent_init_scripts={"linux/amd64": "exec true"},
    )


async def test_home_survives_stop_and_goes_with_destroy(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    await terraform.apply_well(build(1))
    (spec,) = terraform.sandboxes.running.values()
    assert (spec.cpus, spec.memory_mb, spec.hostname) == (1.5, 512, "dev")
    home = dict(terraform.sandboxes.homes)
    await terraform.apply_well(build(2, "stop"))
    assert terraform.sandboxes.running == {}
    assert terraform.sandboxes.homes == home
    await terraform.apply_well(build(3))
    assert len(terraform.sandboxes.running) == 1
    await terraform.run("destroy", "-auto-approve", context=build(4, "delete"))
    assert (terraform.sandboxes.running, terraform.sandboxes.homes) == ({}, {})


async def test_calls_may_take_their_time(terraform: Terraform) -> None:
    """Terraform looks each second whether the attached provider's process lives."""
    terraform.write(TEMPLATE)
    terraform.sandboxes.delay_s = 2.5
    await terraform.apply_well(build(1))
    assert len(terraform.sandboxes.running) == 1
    await terraform.apply_well(build(2, "stop"))
    assert terraform.sandboxes.running == {}


async def test_a_sandbox_that_died_is_made_again(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    await terraform.apply_well(build(1))
    terraform.sandboxes.running.clear()
    await terraform.apply_well(build(1))
    assert len(terraform.sandboxes.running) == 1


async def test_a_sandbox_forgotten_by_terraform_is_taken_over(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    await terraform.apply_well(build(1))
    homes = dict(terraform.sandboxes.homes)
    (terraform.folder / "terraform.tfstate").unlink()
    await terraform.apply_well(build(2))
    assert len(terraform.sandboxes.running) == 1
    assert terraform.sandboxes.homes == homes


async def test_two_of_a_kind_and_replacement_before_destruction(terraform: Terraform) -> None:
    text = """
    variable "script" { default = "one" }
    resource "devyard_sandbox" "pair" {
      count       = 2
      init_script = var.script
      lifecycle { create_before_destroy = true }
    }
    """
    terraform.write(text)
    await terraform.apply_well(build(1))
    assert len(terraform.sandboxes.running) == 2
    await terraform.apply_well(build(2), "-var=script=two")
    assert [spec.init_script for spec in terraform.sandboxes.running.values()] == ["two", "two"]
