"""Terraform's other commands against the provider, and several Terraforms at once."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.server import ProviderServer
from tests.e2e.provider.conftest import BACKENDS, FakeSandboxes, Terraform
from tests.e2e.provider.test_lifecycle import TEMPLATE, start

DECLARATION = '    coder = { source = "coder/coder", version = ">= 2.13" }\n'


async def test_validate_schema_graph_show_console(terraform: Terraform) -> None:
    terraform.write(TEMPLATE.replace(DECLARATION, ""))
    valid = await terraform.run("validate", "-json", context=BuildContext())
    assert json.loads(valid.output)["valid"] is True, valid.output
    schema = await terraform.run("providers", "schema", "-json")
    provider = json.loads(schema.output)["provider_schemas"]["registry.terraform.io/hashicorp/coder"]
    block = provider["resource_schemas"]["coder_app"]["block"]
    assert block["attributes"]["slug"]["required"] is True
    assert block["block_types"]["healthcheck"]["nesting_mode"] == "set"
    graph = await terraform.run("graph")
    assert "coder_agent.main" in graph.output
    await terraform.apply_well(start())
    shown = await terraform.run("show", "-json")
    addresses = {each["address"] for each in json.loads(shown.output)["values"]["root_module"]["resources"]}
    assert "coder_metadata.machine[0]" in addresses


async def test_plan_file_then_apply(terraform: Terraform) -> None:
    terraform.write(TEMPLATE)
    planned = await terraform.plan(start("b1"), "-out=plan")
    assert planned.code == 0, planned.output
    applied = await terraform.run("apply", "-no-color", "-input=false", "plan", context=start("b1"))
    assert applied.code == 0, applied.output
    assert terraform.state()["coder_agent.main"]["token"]


async def test_modules_own_tests(terraform: Terraform) -> None:
    """`terraform test`, as modules use it: plan, apply and an expected refusal."""
    terraform.write(
        """
        terraform {
          required_providers {
            coder = { source = "coder/coder" }
          }
        }
        variable "slug" { default = "ide" }
        resource "coder_app" "ide" {
          agent_id = "a"
          slug     = var.slug
          lifecycle {
            precondition {
              condition     = var.slug != "no"
              error_message = "no."
            }
          }
        }
        """
    )
    terraform.write(
        """
        run "planned" {
          command = plan
          assert {
            condition     = coder_app.ide.share == "owner"
            error_message = "share has no default"
          }
        }
        run "applied" {
          assert {
            condition     = coder_app.ide.id != ""
            error_message = "no id"
          }
        }
        run "refused" {
          command = plan
          variables { slug = "no" }
          expect_failures = [coder_app.ide]
        }
        """,
        "main.tftest.hcl",
    )
    initialised = await terraform.run("init", "-input=false", context=BuildContext())
    assert initialised.code == 0, initialised.output
    tested = await terraform.run("test", "-no-color")
    assert tested.code == 0, tested.output
    assert "3 passed, 0 failed" in tested.output


async def test_four_builds_at_once_see_their_own_values() -> None:
    command = next(iter(BACKENDS.values()))

    async def build(name: str) -> str:
        folder = Path(tempfile.mkdtemp(prefix="dy-"))
        provider = await ProviderServer.start(folder / "p.sock")
        terraform = Terraform(command, folder, provider, FakeSandboxes())
        terraform.write('data "coder_workspace" "me" {}\ndata "coder_workspace_owner" "me" {}\n')
        state = await terraform.apply_well(BuildContext(workspace_name=name, owner_name=f"{name}-owner"))
        await provider.close()
        shutil.rmtree(folder)
        return f"{state['data.coder_workspace.me']['name']} {state['data.coder_workspace_owner.me']['name']}"

    names = ["one", "two", "three", "four"]
    assert await asyncio.gather(*map(build, names)) == [f"{name} {name}-owner" for name in names]
