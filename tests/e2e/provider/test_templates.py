"""What templates are written like: names of the provider, dynamic blocks, modules, counts, odd places."""

import pytest

from devyard.provisioner.context import BuildContext
from tests.e2e.provider.conftest import Terraform

REQUIRED = """
terraform {
  required_providers {
    %s = { source = "%s/%s" }
  }
}
"""


@pytest.mark.parametrize("prefix", ["coder", "devyard"])
@pytest.mark.parametrize("is_declared", [True, False])
async def test_both_prefixes_with_and_without_required_providers(
    terraform: Terraform, prefix: str, is_declared: bool
) -> None:
    head = REQUIRED % (prefix, prefix, prefix) if is_declared else ""
    terraform.write(
        head
        + f"""
        data "{prefix}_workspace" "me" {{}}
        resource "{prefix}_agent" "main" {{
          count = data.{prefix}_workspace.me.start_count
          os    = "linux"
          arch  = "arm64"
        }}
        """
    )
    state = await terraform.apply_well()
    assert state[f"{prefix}_agent.main[0]"]["auth"] == "token"
    stopped = await terraform.apply_well(BuildContext(transition="stop"))
    assert f"{prefix}_agent.main[0]" not in stopped


async def test_one_template_may_mix_the_prefixes(terraform: Terraform) -> None:
    terraform.write(
        """
        resource "coder_agent" "main" {
          os   = "linux"
          arch = "amd64"
        }
        resource "devyard_sandbox_home" "home" {}
        resource "devyard_sandbox" "main" {
          home_id     = devyard_sandbox_home.home.id
          init_script = "exec true"
          env         = { TOKEN = coder_agent.main.token }
        }
        """
    )
    state = await terraform.apply_well(BuildContext(workspace_id="w1"))
    spec = terraform.sandboxes.running[state["devyard_sandbox.main"]["id"]]
    assert spec.env["TOKEN"] == state["coder_agent.main"]["token"]
    assert spec.home_id in terraform.sandboxes.homes


async def test_dynamic_blocks_and_indexes(terraform: Terraform) -> None:
    terraform.write(
        """
        locals { regions = { eu = "Europe", us = "America" } }
        data "coder_parameter" "region" {
          name    = "region"
          default = "eu"
          dynamic "option" {
            for_each = local.regions
            content {
              name  = option.value
              value = option.key
            }
          }
        }
        data "coder_parameter" "size" {
          name    = "size"
          type    = "number"
          default = "3"
          dynamic "validation" {
            for_each = [1]
            content {
              min = 1
            }
          }
        }
        resource "coder_agent" "main" {
          os   = "linux"
          arch = "amd64"
          dynamic "display_apps" {
            for_each = [1]
            content { vscode_insiders = true }
          }
          dynamic "metadata" {
            for_each = ["cpu", "mem"]
            content {
              key      = metadata.value
              script   = "coder stat ${metadata.value}"
              interval = 10
            }
          }
        }
        output "second" { value = data.coder_parameter.region.option[1].name }
        output "least" { value = data.coder_parameter.size.validation[0].min }
        output "no_most" { value = data.coder_parameter.size.validation[0].max_disabled }
        output "metadata" { value = coder_agent.main.metadata[1].key }
        """
    )
    state = await terraform.apply_well()
    assert [each["key"] for each in state["coder_agent.main"]["metadata"]] == ["cpu", "mem"]
    assert state["coder_agent.main"]["display_apps"][0]["vscode_insiders"] is True
    values = (await terraform.run("output", "-no-color")).output
    assert 'second = "America"' in values
    assert "least = 1" in values
    assert "no_most = true" in values
    assert 'metadata = "mem"' in values


async def test_blocks_from_values_known_only_later(terraform: Terraform) -> None:
    terraform.write(
        """
        resource "terraform_data" "later" { input = { keys = ["a", "b"], slug = "code", flag = true } }
        resource "coder_agent" "main" {
          os   = "linux"
          arch = "amd64"
          env  = { KEY = terraform_data.later.output.slug }
          dynamic "metadata" {
            for_each = terraform_data.later.output.keys
            content {
              key      = metadata.value
              script   = "true"
              interval = 1
            }
          }
        }
        resource "coder_script" "later" {
          agent_id     = coder_agent.main.id
          display_name = "Later"
          script       = "true"
          run_on_start = terraform_data.later.output.flag
        }
        resource "coder_metadata" "main" {
          resource_id = coder_agent.main.id
          item {
            key   = "slug"
            value = terraform_data.later.output.slug
          }
        }
        """
    )
    state = await terraform.apply_well()
    assert [each["key"] for each in state["coder_agent.main"]["metadata"]] == ["a", "b"]
    assert state["coder_metadata.main"]["item"][0]["is_null"] is False
    again = await terraform.plan(None, "-detailed-exitcode")
    assert again.code == 0, again.output


async def test_modules(terraform: Terraform) -> None:
    terraform.write(
        """
        terraform {
          required_providers {
            coder = { source = "coder/coder", version = ">= 2.5" }
          }
        }
        variable "agent_id" { type = string }
        data "coder_parameter" "port" {
          name    = "port"
          type    = "number"
          default = 8080
        }
        resource "coder_app" "ide" {
          agent_id = var.agent_id
          slug     = "ide"
          url      = "http://localhost:${data.coder_parameter.port.value}"
        }
        """,
        "ide/main.tf",
    )
    terraform.write(
        REQUIRED % ("coder", "coder", "coder")
        + """
        resource "coder_agent" "main" {
          os   = "linux"
          arch = "amd64"
        }
        module "ide" {
          count    = 2
          source   = "./ide"
          agent_id = coder_agent.main.id
        }
        """
    )
    initialised = await terraform.run("init", "-input=false", "-no-color")
    assert initialised.code == 0, initialised.output
    state = await terraform.apply_well()
    app = state["module.ide[1].coder_app.ide"]
    assert app["url"] == "http://localhost:8080"
    assert app["agent_id"] == state["coder_agent.main"]["id"]
    assert [each.definition.name for each in terraform.capture.parameters] == ["port"]


async def test_every_data_source(terraform: Terraform) -> None:
    terraform.write(
        """
        data "coder_workspace" "me" {}
        data "coder_workspace_owner" "me" {}
        data "coder_workspace_tags" "here" {
          tags = { zone = "eu" }
        }
        data "coder_workspace_preset" "big" {
          name        = "Big"
          default     = true
          description = "For builds"
          parameters  = { cpus = 8 }
          prebuilds {
            instances = 2
            expiration_policy {
              ttl = 86400
            }
            scheduling {
              timezone = "Europe/Berlin"
              schedule {
                cron      = "* 8-18 * * 1-5"
                instances = 5
              }
              schedule {
                cron      = "* 8-18 * * 6"
                instances = 1
              }
            }
          }
        }
        data "coder_external_auth" "git" { id = "github" }
        data "coder_secret" "key" {
          env          = "API_KEY"
          help_message = "Add one under Account."
        }
        data "coder_task" "me" {}
        resource "coder_ai_task" "me" { app_id = "x" }
        """
    )
    context = BuildContext(
        access_url="https://dev.example.com:8443/",
        build_id="b1",
        template_id="t1",
        template_name="t",
        template_version="v",
        owner_groups=("staff", "admins"),
        external_auth_tokens={"github": "gho"},
        secrets_env={"API_KEY": "s3"},
        task_id="k1",
        task_prompt="Fix it",
    )
    state = await terraform.apply_well(context)
    workspace = state["data.coder_workspace.me"]
    assert (workspace["access_url"], workspace["access_port"]) == ("https://dev.example.com:8443", 8443)
    assert workspace["start_count"] == 1
    assert state["data.coder_workspace_owner.me"]["groups"] == ["staff", "admins"]
    assert state["data.coder_external_auth.git"]["access_token"] == "gho"
    assert state["data.coder_secret.key"]["value"] == "s3"
    assert state["data.coder_task.me"]["prompt"] == "Fix it"
    assert state["coder_ai_task.me"]["enabled"] is True
    capture = terraform.capture
    assert capture.workspace_tags == [{"zone": "eu"}]
    assert capture.presets[0].prebuilds is not None
    assert capture.presets[0].prebuilds.schedule == (("* 8-18 * * 1-5", 5), ("* 8-18 * * 6", 1))
    assert capture.presets[0].parameters == {"cpus": "8"}
    assert capture.external_auths[0].id == "github"
    assert capture.has_ai_task


async def test_provider_url_and_host(terraform: Terraform) -> None:
    terraform.write(
        REQUIRED % ("coder", "coder", "coder")
        + """
        provider "coder" {
          url  = "http://10.0.0.1:7080/"
          host = "relay.example.com"
        }
        data "coder_workspace" "me" {}
        """
    )
    state = await terraform.apply_well(BuildContext(access_url="https://other.example.com"))
    assert state["data.coder_workspace.me"]["access_url"] == "http://relay.example.com:7080"


async def test_aliases_keep_their_own_url(terraform: Terraform) -> None:
    """Two configurations of one provider are two connections, whoever configures last."""
    terraform.write(
        REQUIRED % ("coder", "coder", "coder")
        + """
        provider "coder" { url = "http://one.example.com:1" }
        provider "coder" {
          alias = "two"
          url   = "http://two.example.com:2"
        }
        data "coder_workspace" "one" {}
        data "coder_workspace" "two" { provider = coder.two }
        resource "coder_agent" "one" {
          os   = "linux"
          arch = "amd64"
        }
        resource "coder_agent" "two" {
          provider = coder.two
          os       = "linux"
          arch     = "amd64"
        }
        """
    )
    context = BuildContext(agent_init_scripts={"linux/amd64": "${ACCESS_URL}"})
    state = await terraform.apply_well(context)
    for name, port in (("one", 1), ("two", 2)):
        assert state[f"data.coder_workspace.{name}"]["access_port"] == port
        assert state[f"coder_agent.{name}"]["init_script"] == f"http://{name}.example.com:{port}"
    again = await terraform.plan(context, "-detailed-exitcode")
    assert again.code == 0, again.output


async def test_values_of_megabytes(terraform: Terraform) -> None:
    (terraform.folder / "big.txt").write_text("0123456789abcdef" * (3 << 16))
    terraform.write(
        """
        resource "coder_script" "big" {
          agent_id     = "a"
          display_name = "Big"
          script       = file("big.txt")
          run_on_start = true
        }
        """
    )
    state = await terraform.apply_well()
    assert len(state["coder_script.big"]["script"]) == 3 << 20
    again = await terraform.plan(None, "-detailed-exitcode")
    assert again.code == 0, again.output
