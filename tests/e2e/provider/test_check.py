"""`devyard templates check`: what authors see of a good template, and of one with every mistake it names."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from devyard.cli.templates.check import check
from tests.e2e.provider.conftest import BACKENDS

CHECKOUT = Path(__file__).parents[3]

GOOD = """
terraform {
  backend "s3" {}
  required_providers {
    coder = { source = "coder/coder", version = "~> 2" }
  }
}
variable "image" {}
variable "zones" {
  type    = list(string)
  default = ["eu", "us"]
}
locals { zones = [for zone in var.zones : { id = zone, title = upper(zone) }] }
data "coder_workspace" "me" {}
data "coder_parameter" "zone" {
  name         = "zone"
  display_name = "Zone"
  default      = local.zones[0].id
  order        = 2
  dynamic "option" {
    for_each = local.zones
    content {
      name  = option.value.title
      value = option.value.id
    }
  }
}
data "coder_parameter" "cpus" {
  name    = "cpus"
  type    = "number"
  default = 2
  mutable = true
  order   = 1
  validation {
    min = 1
    max = 8
  }
}
data "coder_workspace_preset" "small" {
  name       = "Small"
  default    = true
  parameters = { cpus = 1, zone = "us" }
}
resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}
module "ide" {
  source   = "./ide"
  agent_id = coder_agent.main.id
}
resource "terraform_data" "home" { input = var.image }
resource "terraform_data" "machine" {
  count = data.coder_workspace.me.start_count
  input = [coder_agent.main.token, data.coder_parameter.zone.value, data.coder_parameter.cpus.value]
}
"""

MODULE = """
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}
variable "agent_id" {}
resource "coder_app" "ide" {
  for_each = toset(["vscode", "zed"])
  agent_id = var.agent_id
  slug     = each.key
  external = true
  url      = "${each.key}://open"
}
"""

DOUBTFUL = """
data "coder_parameter" "idle" {
  name    = "idle"
  default = "x"
}
data "coder_parameter" "gpus" {
  name    = "gpus"
  type    = "number"
  default = 0
  validation {
    min = 0
    max = 2
  }
}
data "coder_workspace_preset" "wrong" {
  name       = "Wrong"
  parameters = { gpus = 9, gone = "x" }
}
variable "unused" { default = "" }
resource "coder_agent" "lonely" {
  os   = "linux"
  arch = "amd64"
  env  = { GPUS = data.coder_parameter.gpus.value }
}
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "ide").mkdir()
    (tmp_path / "main.tf").write_text(GOOD)
    (tmp_path / "ide" / "main.tf").write_text(MODULE)
    return tmp_path


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(check, [str(directory), *words])


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_good_template(template: Path, backend: str) -> None:
    before = sorted(template.rglob("*"))
    done = run(template, "--var", "image=debian", "--terraform", backend, "-o", "json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["errors"] == []
    assert [p["definition"]["name"] for p in report["parameters"]] == ["cpus", "zone"]
    assert [o["name"] for o in report["parameters"][1]["definition"]["options"]] == ["EU", "US"]
    starting = {each["address"]: each for each in report["start_resources"]}
    assert sorted(starting) == ["terraform_data.home", "terraform_data.machine[0]"]
    assert [each["address"] for each in report["stop_resources"]] == ["terraform_data.home"]
    (agent,) = starting["terraform_data.machine[0]"]["agents"]
    assert [app["slug"] for app in agent["apps"]] == ["vscode", "zed"]
    assert sorted(template.rglob("*")) == before  # the author's directory is only read
    old = any("1.12" in text for text in report["warnings"])
    assert old == report["terraform"].startswith("1.11.")


def test_what_people_read(template: Path) -> None:
    done = run(template, "--var", "image=debian", "--parameter", "zone=us")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "cpus number input 2 - min 1, max 8, mutable" in lines
    assert "Zone (zone) string radio eu EU (eu), US (us) set once" in lines
    assert "Small (default) cpus=1, zone=us" in lines
    assert "terraform_data.machine[0] start main (linux/amd64) vscode, zed" in lines
    assert "image any (required)" in lines


def test_unused_and_undeclared_things_are_named(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(DOUBTFUL)
    (tmp_path / "terraform.tfvars").write_text('unknown = "x"\n')
    done = run(tmp_path, "--parameter", "nothing=1")
    assert done.exit_code == 1
    for text in (
        'Preset "Wrong" gives a value to "gone", which is no parameter of this template.',
        'Preset "Wrong": Parameter "gpus": 9 is more than the maximum 2.',
        'There is no parameter "nothing", for which a value was given.',
        'warning: variable "unused" is never used.',
        "warning: data.coder_parameter.idle: users are asked for it, and nothing uses its value.",
        "warning: coder_agent.lonely: no resource refers to it, so nothing will start it",
        'terraform.tfvars: "unknown" is no variable of this template; the value has no effect.',
    ):
        assert text in done.stdout
    assert "data.coder_parameter.gpus" not in done.stdout


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (("var.image", "var.imgae"), ["--var", "image=x"], "undeclared"),
        (("agent_id = coder_agent.main.id", 'agent_id = "x"'), ["--var", "image=x"], 'refers to the agent "x"'),
        (("min = 1", "min = 9"), ["--var", "image=x"], "min (9) is greater than max (8)"),
        (("", ""), [], "These variables need values: image."),
        (("", ""), ["--var", "image=x", "--var", "imgae=x"], '"imgae", which is not declared'),
        (("", ""), ["--var", "image=x", "--parameter", "zone=mars"], "Value must be a valid option"),
        (('"./ide"', '"./idea"'), ["--var", "image=x"], "idea"),
    ],
)
def test_mistakes_end_with_1(template: Path, change: tuple[str, str], words: list[str], expected: str) -> None:
    main = template / "main.tf"
    main.write_text(main.read_text().replace(*change) if change[0] else main.read_text())
    done = run(template, *words)
    assert done.exit_code == 1, done.stdout
    assert expected in " ".join(done.stdout.split())
    assert "It would not work as it is." in done.stdout


def test_a_directory_without_terraform(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "has no .tf files" in done.stdout


def test_the_starter_template_is_clean(tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "templates" / "local", tmp_path / "local")
    done = run(tmp_path / "local")
    assert done.exit_code == 0, done.stdout
    assert "0 error(s), 0 warning(s)." in done.stdout


def test_one_metadata_block_for_each_resource(template: Path) -> None:
    block = 'resource "coder_metadata" "{}" {{\n  resource_id = terraform_data.home.id\n}}\n'
    (template / "more.tf").write_text(block.format("one") + block.format("two"))
    done = run(template, "--var", "image=x")
    assert done.exit_code == 1, done.stdout
    assert "coder_metadata.one and coder_metadata.two both describe terraform_data.home" in done.stdout
