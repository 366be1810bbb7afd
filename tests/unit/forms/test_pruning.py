"""What of a template is kept for its form, by templates as people write them."""

import json
from pathlib import Path

import pytest

from devyard.provisioner.forms.pruning import Pruned, is_dynamic, list_targets, prune_template
from devyard.provisioner.forms.source import Unprunable

PARAMETER = 'data "coder_parameter" "p" {\n  name = "p"\n%s\n}\n'
FOREIGN = 'resource "docker_container" "c" {\n  image = "x"\n}\n'


def write(directory: Path, files: dict[str, str], modules: dict[str, str] | None = None) -> Path:
    """A template; `modules`: key → directory of those that are installed."""
    if modules:
        entries = [{"Key": "", "Source": "", "Dir": "."}]
        entries += [{"Key": key, "Source": f"./{dir_}", "Dir": dir_} for key, dir_ in modules.items()]
        files = files | {".terraform/modules/modules.json": json.dumps({"Modules": entries})}
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def prune(directory: Path, text: str) -> Pruned:
    return prune_template(write(directory, {"main.tf": text}))


KEPT: list[tuple[str, str, list[str], list[str]]] = [
    ("a resource goes", PARAMETER % "  default = 1" + FOREIGN, ['"p"'], ["docker"]),
    (
        "locals go one by one",
        'locals {\n  a = [local.b]\n  b = "x"\n  c = docker_container.c.id\n}\n'
        + PARAMETER % "  default = local.a[0]"
        + FOREIGN,
        ["a = [local.b]", 'b = "x"'],
        ["docker", "c ="],
    ),
    (
        "interpolations in interpolations",
        'locals {\n  deep = "${upper("${local.inner}")}"\n  inner = "y"\n  gone = 1\n}\n'
        + PARAMETER % '  default = "a${"b${local.deep}"}"',
        ["deep =", "inner ="],
        ["gone"],
    ),
    (
        "heredocs",
        "locals {\n  text = <<-EOT\n    to ${local.who} %{ if local.loud }!%{ endif }\n    }\n  EOT\n"
        '  who = "you"\n  loud = true\n  gone = <<E\n${docker_container.c.id}\nE\n}\n'
        + PARAMETER % "  description = local.text"
        + FOREIGN,
        ["text =", "who =", "loud ="],
        ["gone", "docker"],
    ),
    (
        "what is only quoted is no reference",
        PARAMETER % '  description = "see docker_container.c.id and $${docker_container.c.id}"' + FOREIGN,
        ["see docker_container.c.id"],
        ["resource"],
    ),
    (
        "dynamic blocks",
        'variable "v" {}\nvariable "w" {}\nlocals {\n  o = var.v\n}\n'
        + PARAMETER
        % '  dynamic "option" {\n    for_each = local.o\n    content {\n      name = option.key\n'
        "      value = option.value\n    }\n  }",
        ['variable "v"', "o = var.v"],
        ['"w"'],
    ),
    (
        "conditions on another parameter",
        'data "coder_parameter" "q" {\n  name = "q"\n  count = data.coder_parameter.p.value == "x" ? 1 : 0\n}\n'
        + PARAMETER % "  default = 1",
        ['"q"', '"p"'],
        [],
    ),
    (
        "who the owner is",
        'data "coder_workspace_owner" "me" {}\ndata "coder_workspace" "me" {}\n'
        + PARAMETER % '  default = contains(data.coder_workspace_owner.me.groups, "a") ? 1 : 2',
        ["coder_workspace_owner"],
        ['data "coder_workspace" "me"'],
    ),
    (
        "order is left out",
        PARAMETER % "  default = 1\n  depends_on = [docker_container.c]" + FOREIGN,
        ["default = 1"],
        ["depends_on", "docker"],
    ),
    (
        "tags and presets",
        'data "coder_workspace_tags" "t" {\n  tags = { a = local.t }\n}\n'
        'data "coder_workspace_preset" "s" {\n  name = "s"\n}\nlocals { t = "x" }\noutput "o" { value = 1 }\n',
        ["tags = {", '"s"', 't = "x"'],
        ["output"],
    ),
    (
        "settings of Terraform",
        'terraform {\n  required_providers {\n    coder = { source = "coder/coder", version = ">= 2" }\n'
        '    docker = { source = "kreuzwerker/docker" }\n  }\n  backend "s3" {}\n}\nprovider "docker" {}\n'
        + PARAMETER
        % "  default = 1",
        ['coder = { source = "coder/coder" }'],
        ["kreuzwerker", "s3", 'provider "docker"'],
    ),
    (
        "a resource of Terraform's own",
        'resource "terraform_data" "d" {\n  input = "x"\n}\n' + PARAMETER % "  default = terraform_data.d.input",
        ["terraform_data"],
        [],
    ),
    (
        "the same name twice (an override)",
        PARAMETER % "  default = 1" + PARAMETER % "  default = local.a" + "locals { a = 2 }\n",
        ["default = 1", "default = local.a", "a = 2"],
        [],
    ),
]


@pytest.mark.parametrize(("text", "kept", "gone"), [case[1:] for case in KEPT], ids=[case[0] for case in KEPT])
def test_what_is_kept(tmp_path: Path, text: str, kept: list[str], gone: list[str]) -> None:
    rendered = "".join(prune(tmp_path, text).modules[0].files.values())
    assert [words for words in kept if words not in rendered] == []
    assert [words for words in gone if words in rendered] == []


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    text = FOREIGN + "locals {\n  gone = <<E\na\nb\nE\n  kept = 1\n}\n" + PARAMETER % "  default = local.kept"
    rendered = prune(tmp_path, text).modules[0].files["main.tf"].splitlines()
    for number, line in enumerate(text.splitlines()):
        assert rendered[number] in ("", line) or rendered[number].strip() == ""
    assert rendered[text.splitlines().index('data "coder_parameter" "p" {')].startswith("data")


UNPRUNABLE: list[tuple[str, str]] = [
    (PARAMETER % "  default = docker_container.c.id" + FOREIGN, "docker_container.c"),
    (PARAMETER % "  default = data.http.x.body" + 'data "http" "x" {}\n', "data http.x"),
    (PARAMETER % "  default = provider::time::now()", "provider"),
    (PARAMETER % "  default = module.m.x" + 'module "m" {\n  source = "./m"\n}\n', "not installed"),
    (PARAMETER % '  default = "', "can't be read"),
]


@pytest.mark.parametrize(("text", "words"), UNPRUNABLE)
def test_what_can_not_be_cut(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Unprunable, match=words):
        prune(tmp_path, text)
    assert is_dynamic(tmp_path)


def test_a_template_in_json_is_planned_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, {"main.tf": PARAMETER % "  default = 1", "more.tf.json": "{}"})
    with pytest.raises(Unprunable, match=r"more\.tf\.json"):
        prune_template(tmp_path)
    assert list_targets(tmp_path) == []


def test_targets_of_a_template_that_can_not_be_cut(tmp_path: Path) -> None:
    text = UNPRUNABLE[0][0] + 'module "m" {\n  source = "./m"\n}\n'
    assert list_targets(write(tmp_path, {"main.tf": text})) == ["data.coder_parameter.p", "module.m"]


def test_no_form_at_all(tmp_path: Path) -> None:
    assert prune(tmp_path, FOREIGN).modules == []


MODULE = """
variable "agent_id" {}
variable "choices" {}
variable "unused" { default = docker_image.x }
data "coder_parameter" "m" {
  name    = "m"
  default = var.choices[0]
}
resource "coder_app" "a" { agent_id = var.agent_id }
resource "docker_image" "i" {}
output "chosen" { value = data.coder_parameter.m.value }
output "app" { value = coder_app.a.id }
"""


def test_a_module_with_parameters(tmp_path: Path) -> None:
    text = (
        'module "m" {\n  for_each = toset(local.names)\n  source   = "./mod"\n  agent_id = docker_container.c.id\n'
        "  choices  = local.choices\n  providers = { docker = docker }\n}\n"
        'locals {\n  names = ["a"]\n  choices = ["b"]\n  gone = 1\n}\n' + FOREIGN
    )
    pruned = prune_template(write(tmp_path, {"main.tf": text, "mod/main.tf": MODULE}, {"m": "mod"}))
    root, module = pruned.modules
    assert module.entry.key == "m"
    assert module.directory == tmp_path / "mod"
    called = root.files["main.tf"]
    assert "for_each = toset(local.names)" in called
    assert "choices  = local.choices" in called
    assert all(words not in called for words in ("agent_id", "docker", "gone", "providers"))
    inside = module.files["main.tf"]
    assert 'variable "choices"' in inside
    assert '"coder_parameter" "m"' in inside
    assert all(words not in inside for words in ("agent_id", "docker", "output", "unused"))


def test_a_module_whose_output_is_used(tmp_path: Path) -> None:
    """Only what leads to that output: the others would lead to what another provider makes."""
    text = (
        PARAMETER % '  default = module.m["a"].chosen'
        + 'module "m" {\n  source = "./mod"\n  for_each = toset(["a"])\n'
        + "  agent_id = docker_container.c.id\n  choices = [1]\n}\n"
        + FOREIGN
    )
    pruned = prune_template(write(tmp_path, {"main.tf": text, "mod/main.tf": MODULE}, {"m": "mod"}))
    inside = pruned.modules[1].files["main.tf"]
    assert 'output "chosen"' in inside
    assert 'output "app"' not in inside
    assert "docker" not in pruned.modules[0].files["main.tf"]


def test_modules_in_modules(tmp_path: Path) -> None:
    files = {
        "main.tf": 'module "outer" {\n  source = "./outer"\n  list = ["x"]\n}\n',
        "outer/main.tf": 'variable "list" {}\nmodule "inner" {\n  source = "./inner"\n  choices = var.list\n'
        '  agent_id = "1"\n}\n',
        "outer/inner/main.tf": MODULE,
    }
    pruned = prune_template(write(tmp_path, files, {"outer": "outer", "outer.inner": "outer/inner"}))
    assert [module.entry.key for module in pruned.modules] == ["", "outer", "outer.inner"]
    assert "list = [" in pruned.modules[0].files["main.tf"]


def test_a_module_elsewhere_is_not_read(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"main.tf": MODULE})
    files = {"main.tf": 'module "m" {\n  source = "./x"\n}\n'}
    with pytest.raises(Unprunable, match="elsewhere"):
        prune_template(write(tmp_path / "template", files, {"m": str(outside)}))


DYNAMIC: list[tuple[str, bool]] = [
    (PARAMETER % "  default = var.x" + 'variable "x" { default = local.y }\nlocals { y = 1 }\n', False),
    (PARAMETER % "  default = data.coder_workspace_owner.me.name", True),
    (PARAMETER % "  default = local.y" + "locals { y = data.coder_parameter.q.value }\n", True),
    (PARAMETER % "  count = data.coder_workspace.me.start_count", True),
    (
        PARAMETER % "  default = 1"
        + 'data "coder_workspace_tags" "t" {\n  tags = { p = data.coder_parameter.p.value }\n}\n',
        True,
    ),
    # A preset only proposes.
    (
        PARAMETER % "  default = 1"
        + 'data "coder_workspace_preset" "t" {\n  name = data.coder_workspace_owner.me.name\n}\n',
        False,
    ),
]


@pytest.mark.parametrize(("text", "expected"), DYNAMIC)
def test_which_parameters_are_dynamic(tmp_path: Path, text: str, expected: bool) -> None:
    others = (
        'data "coder_workspace_owner" "me" {}\ndata "coder_workspace" "me" {}\ndata "coder_parameter" "q" {}\n'
    )
    write(tmp_path, {"main.tf": text + others})
    assert is_dynamic(tmp_path) is expected
