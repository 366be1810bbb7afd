"""Wrong templates and values: what people read, and where it points."""

import pytest

from devyard.provisioner.context import BuildContext
from tests.e2e.provider.conftest import Terraform

AGENT = 'resource "coder_agent" "a" {\n  os = "linux"\n  arch = "amd64"\n}\n'
PARAMETER = 'data "coder_parameter" "p" {{\n  name = "p"\n  {}\n}}\n'

MISTAKES = {
    "slug": (
        'resource "coder_app" "a" {\n  agent_id = "x"\n  slug = "Code Server"\n}',
        'slug: "Code Server" is not a slug; use lower-case letters and digits, with single hyphens',
    ),
    "share": (
        'resource "coder_app" "a" {\n  agent_id = "x"\n  slug = "a"\n  share = "everyone"\n}',
        'share: "everyone" is not allowed; use "owner", "authenticated" or "public".',
    ),
    "command and url": (
        'resource "coder_app" "a" {\n  agent_id = "x"\n  slug = "a"\n  url = "http://x"\n  command = "vim"\n}',
        "An app has a url or a command, not both; leave one out.",
    ),
    "external with command": (
        'resource "coder_app" "a" {\n  agent_id = "x"\n  slug = "a"\n  external = true\n  command = "vim"\n}',
        "An external app is only a link: leave out command.",
    ),
    "architecture": (
        'resource "coder_agent" "a" {\n  os = "linux"\n  arch = "x86"\n}',
        'arch: "x86" is not allowed; use "amd64", "armv7" or "arm64".',
    ),
    "two equal metadata keys": (
        'resource "coder_agent" "a" {\n  os = "linux"\n  arch = "amd64"\n'
        + '  metadata {\n    key = "k"\n    script = "s"\n    interval = 1\n  }\n' * 2
        + "}",
        'metadata: two have the key "k"; each key may appear once.',
    ),
    "threshold": (
        'resource "coder_agent" "a" {\n  os = "linux"\n  arch = "amd64"\n  resources_monitoring {\n'
        "    memory {\n      enabled = true\n      threshold = 101\n    }\n  }\n}",
        "101 is not allowed; use from 0 to 100.",
    ),
    "no trigger": (
        'resource "coder_script" "s" {\n  agent_id = "x"\n  display_name = "S"\n  script = "true"\n}',
        "A script needs a trigger: set run_on_start, run_on_stop or cron.",
    ),
    "cron": (
        'resource "coder_script" "s" {\n  agent_id = "x"\n  display_name = "S"\n  script = "true"\n'
        '  cron = "0 25 * * *"\n}',
        'cron: "0 25 * * *" has 5 fields; it needs 6: second, minute, hour, day of month, month, day of week.',
    ),
    "merge strategy": (
        'resource "coder_env" "e" {\n  agent_id = "x"\n  name = "PATH"\n  merge_strategy = "join"\n}',
        'merge_strategy: "join" is not allowed; use "replace", "append", "prepend" or "error".',
    ),
    "parameter type": (
        PARAMETER.format('type = "int"'),
        'type: "int" is not allowed; use "string", "number", "bool" or "list(string)".',
    ),
    "form type": (
        PARAMETER.format('type = "bool"\n  form_type = "slider"'),
        'form_type "slider" can\'t show a parameter of type "bool" without options; use "checkbox" or "switch".',
    ),
    "default not an option": (
        PARAMETER.format('default = "c"\n  option {\n    name = "A"\n    value = "a"\n  }'),
        'The default does not pass: Parameter "p": Value must be a valid option; "c" is none of "a".',
    ),
    "ephemeral": (
        PARAMETER.format("ephemeral = true\n  mutable = true"),
        "An ephemeral parameter needs a default",
    ),
    "min on text": (
        PARAMETER.format("validation {\n    min = 1\n  }"),
        'min limits numbers; this parameter is of type "string".',
    ),
    "regex without error": (
        PARAMETER.format('validation {\n    regex = "^a"\n  }'),
        "A regex needs an error beside it",
    ),
    "overlapping windows": (
        'data "coder_workspace_preset" "p" {\n  name = "p"\n  prebuilds {\n    instances = 1\n'
        '    scheduling {\n      timezone = "UTC"\n'
        '      schedule {\n        cron = "* 8-12 * * *"\n        instances = 1\n      }\n'
        '      schedule {\n        cron = "* 12-14 * * 3"\n        instances = 2\n      }\n    }\n  }\n}',
        'The windows "* 8-12 * * *" and "* 12-14 * * 3" overlap',
    ),
    "secret of both kinds": (
        'data "coder_secret" "s" {\n  env = "A"\n  file = "/a"\n  help_message = "h"\n}',
        "A secret names exactly one of env and file.",
    ),
    "provider url": (
        'terraform {\n  required_providers {\n    coder = { source = "coder/coder" }\n  }\n}\n'
        'provider "coder" {\n  url = ""\n}\n' + AGENT,
        "url: it can't be empty.",
    ),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
async def test_mistakes_are_named(terraform: Terraform, name: str) -> None:
    text, message = MISTAKES[name]
    terraform.write(text)
    result = await terraform.plan()
    assert result.code == 1, result.output
    assert message in result.text
    assert "on main.tf line" in result.text


async def test_values_are_checked_in_a_real_build(terraform: Terraform) -> None:
    terraform.write(
        'data "coder_parameter" "cpus" {\n  name = "cpus"\n  type = "number"\n  default = 4\n  mutable = true\n'
        '  validation {\n    min = 1\n    max = 8\n    monotonic = "increasing"\n  }\n}\n'
        'data "coder_parameter" "name" {\n  name = "name"\n}\n'
    )
    build = {"build_id": "b", "template_id": "t", "template_name": "t", "template_version": "v"}
    missing = await terraform.plan(BuildContext(**build))
    assert 'Parameter "name" needs a value: it has no default.' in missing.text
    too_big = await terraform.plan(BuildContext(**build, parameters={"name": "n", "cpus": "9"}))
    assert 'Parameter "cpus": 9 is more than the maximum 8.' in too_big.text
    shrunk = await terraform.plan(
        BuildContext(**build, parameters={"name": "n", "cpus": "2"}, previous_parameters={"cpus": "4"})
    )
    assert "2 is less than the previous value 4; it can only grow." in shrunk.text
    stopping = await terraform.plan(
        BuildContext(**build, transition="stop", parameters={"name": "n", "cpus": "9"})
    )
    assert stopping.code == 0, stopping.output
    assert "Warning" in stopping.output


async def test_an_import_goes_on_without_values(terraform: Terraform) -> None:
    terraform.write('data "coder_parameter" "name" {\n  name = "name"\n}\n')
    result = await terraform.plan()
    assert result.code == 0, result.output
    (parameter,) = terraform.capture.parameters
    assert parameter.definition.required
    assert parameter.value is None


async def test_form_mode_records_and_goes_on(terraform: Terraform) -> None:
    terraform.write(
        'data "coder_parameter" "cpus" {\n  name = "cpus"\n  type = "number"\n'
        "  validation {\n    min = 1\n    max = 8\n  }\n}\n"
        'data "coder_parameter" "gpus" {\n  count = data.coder_parameter.cpus.value == "99" ? 1 : 0\n'
        '  name = "gpus"\n  type = "number"\n  default = "x"\n}\n'
    )
    result = await terraform.plan(BuildContext(is_form=True, parameters={"cpus": "99"}))
    assert result.code == 0, result.output
    cpus, gpus = terraform.capture.parameters
    assert cpus.value == "99"
    assert cpus.problems == ('Parameter "cpus": 99 is more than the maximum 8.',)
    assert "is not a number" in gpus.problems[0]


async def test_one_name_two_definitions(terraform: Terraform) -> None:
    terraform.write(
        'data "coder_parameter" "a" {\n  name = "size"\n  default = "1"\n}\n'
        'data "coder_parameter" "b" {\n  name = "size"\n  default = "2"\n}\n'
    )
    result = await terraform.plan()
    assert result.code == 1
    assert 'Two parameters are named "size" but are defined differently' in result.text


async def test_a_sandbox_that_is_refused_says_why(terraform: Terraform) -> None:
    terraform.write('resource "devyard_sandbox" "main" {\n  init_script = "true"\n}\n')
    terraform.sandboxes.refusal = "The kernel forbids namespaces; set user.max_user_namespaces."
    result = await terraform.apply()
    assert result.code == 1
    assert "The kernel forbids namespaces; set user.max_user_namespaces." in result.text
    assert terraform.state() == {}


async def test_a_platform_without_agent_is_named(terraform: Terraform) -> None:
    terraform.write('resource "coder_agent" "a" {\n  os = "windows"\n  arch = "arm64"\n}\n')
    result = await terraform.apply(
        BuildContext(build_id="b", agent_init_scripts={"linux/amd64": "x", "linux/arm64": "y"})
    )
    assert (
        "This server has no agent for windows/arm64; it has agents for: linux/amd64, linux/arm64." in result.text
    )
