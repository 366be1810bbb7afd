from pathlib import Path

import pytest

from devyard.provisioner.templates.hcl import read_blocks
from devyard.provisioner.templates.needs import has_backend, needs_init
from devyard.provisioner.templates.variables import (
    find_missing,
    find_unknown,
    list_variables,
    read_configuration,
    render_values,
)
from devyard.wire.provisionerlink import Variable
from devyard.wire.provisionerresults import TemplateVariableResult

TEXT = """
variable "region" {
  description = "Where"
  type        = string
}
variable "sizes" {
  type = object({
    cpu = number
  })
  default = { cpu = 2 }
}
variable "token" {
  type      = string
  default   = "hush"
  sensitive = true
}
variable "count" { default = 3 }
variable "nothing" { default = null }
"""


def test_variables_are_listed() -> None:
    region, sizes, token, count, nothing = list_variables(read_blocks(TEXT), [])
    assert region == TemplateVariableResult("region", "Where", "string", "", required=True, sensitive=False)
    assert (sizes.type, sizes.default_value, sizes.required) == ("object({ cpu = number })", '{"cpu":2}', False)
    assert (token.default_value, token.sensitive, token.required) == ("", True, False)
    assert (count.type, count.default_value) == ("", "3")
    assert (nothing.default_value, nothing.required) == ("", False)


def test_json_files_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "a.tf.json").write_text('{"variable": {"x": {"type": "number", "default": 5}, "y": [{}]}}')
    (tmp_path / "b.tf").write_text('variable "z" {}\n')
    (tmp_path / "broken.tf").write_text("variable {{{")
    (tmp_path / "note.txt").write_text("variable")
    blocks, documents = read_configuration(tmp_path)
    variables = {variable.name: variable for variable in list_variables(blocks, documents)}
    assert {name: v.required for name, v in variables.items()} == {"z": True, "x": False, "y": True}
    assert variables["x"].default_value == "5"


def test_missing_and_unknown() -> None:
    variables = list_variables(read_blocks(TEXT), [])
    assert find_missing(variables, []) == ["region"]
    assert find_missing(variables, [Variable("region", "")]) == []
    assert find_unknown(variables, [Variable("region", "x"), Variable("typo", "x")]) == ["typo"]


def test_values_as_terraform_reads_them() -> None:
    variables = list_variables(read_blocks(TEXT), [])
    values = [Variable("region", 'a"\\\n${x}%{y}$z'), Variable("sizes", '{"cpu": 4}'), Variable("typo", "x")]
    assert render_values(variables, values) == ('region = "a\\"\\\\\\n$${x}%%{y}$z"\nsizes = {"cpu": 4}\n')


OURS = 'terraform {\n  required_providers {\n    coder = { source = "coder/coder", version = ">= 2" }\n  }\n}\n'


@pytest.mark.parametrize(
    ("text", "is_needed"),
    [
        ("", False),
        (OURS, False),
        (
            'resource "coder_agent" "a" {}\nresource "terraform_data" "b" {}\ndata "devyard_parameter" "c" {}\n',
            False,
        ),
        ('provider "coder" {}\n', False),
        ('module "m" { source = "./m" }\n', True),
        ('resource "docker_container" "c" {}\n', True),
        ('data "http" "h" {}\n', True),
        ('provider "aws" {}\n', True),
        ('terraform {\n  required_providers {\n    docker = { source = "kreuzwerker/docker" }\n  }\n}\n', True),
        ('terraform {\n  required_providers {\n    coder = { source = "evil/coder" }\n  }\n}\n', True),
        ('terraform {\n  backend "s3" {}\n}\n', True),
    ],
)
def test_when_init_is_needed(text: str, is_needed: bool) -> None:
    assert needs_init(read_blocks(text), []) == is_needed


def test_backends_are_seen() -> None:
    assert has_backend(read_blocks('terraform {\n  backend "s3" {}\n}\n'))
    assert has_backend(read_blocks("terraform {\n  cloud {}\n}\n"))
    assert not has_backend(read_blocks(OURS))
