"""Templates that can't work: one sentence with the place, and the whole diagnosis in the log."""

import pytest

from devyard.provisioner.link.session import Session
from devyard.wire.provisionerlink import BuildDone, Failed, ImportDone, Variable

from .jobs import build_job, import_job
from .linkserver import LinkServer, pack

AGENT = 'resource "coder_agent" "main" {\n  os   = "linux"\n  arch = "amd64"\n}\n'


async def fail_import(server: LinkServer, files: dict[str, str], *variables: Variable) -> tuple[Failed, str]:
    ticket = await server.submit(pack(files), import_job(*variables))
    failed = await ticket.result()
    assert isinstance(failed, Failed), failed
    assert failed.outcome == "failed"
    return failed, ticket.text


async def test_syntax_error(session: Session, server: LinkServer) -> None:
    failed, text = await fail_import(
        server, {"main.tf": AGENT + 'resource "terraform_data" "x" {\n  input = \n}\n'}
    )
    assert failed.error.startswith("main.tf:6: Invalid expression")
    assert "on main.tf line 6" in text


async def test_unknown_argument_with_the_line_of_the_template(session: Session, server: LinkServer) -> None:
    template = AGENT.replace('arch = "amd64"', 'arch = "amd64"\n  colour = "red"')
    failed, text = await fail_import(server, {"main.tf": template})
    assert failed.error == ('main.tf:4: Unsupported argument: An argument named "colour" is not expected here.')
    assert '     4:   colour = "red"' in text
    assert 'in resource "coder_agent" "main"' in text


async def test_missing_variables_are_named(session: Session, server: LinkServer) -> None:
    variables = 'variable "region" {}\nvariable "zone" {\n  type = string\n}\nvariable "ok" { default = 1 }\n'
    failed, _ = await fail_import(server, {"main.tf": AGENT + variables}, Variable("zone", "a"))
    assert failed.error_code == "REQUIRED_TEMPLATE_VARIABLES"
    assert "region" in failed.error
    assert "zone" not in failed.error


async def test_cycle(session: Session, server: LinkServer) -> None:
    cycle = """
resource "terraform_data" "a" {
  input = terraform_data.b.id
}
resource "terraform_data" "b" {
  input = terraform_data.a.id
}
"""
    failed, _ = await fail_import(server, {"main.tf": AGENT + cycle})
    assert "Cycle" in failed.error
    assert "terraform_data.a" in failed.error


async def test_provider_that_is_not_to_be_had(session: Session, server: LinkServer) -> None:
    template = """
terraform {
  required_providers {
    nothing = { source = "example.invalid/nobody/nothing" }
  }
}
resource "nothing_thing" "x" {}
"""
    failed, text = await fail_import(server, {"main.tf": template})
    assert "example.invalid/nobody/nothing" in failed.error
    assert "Fetching the modules and providers" in text


async def test_app_without_an_agent(session: Session, server: LinkServer) -> None:
    template = (
        AGENT
        + 'resource "coder_app" "lost" {\n  agent_id = "nobody"\n  slug     = "lost"\n  url = "http://x"\n}\n'
    )
    ticket = await server.submit(pack({"main.tf": template}), build_job())
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert failed.error.startswith('coder_app.lost refers to the agent "nobody"')
    assert b'"coder_app"' in failed.state, "what was made is kept"
    assert failed.possible_orphans == ()


async def test_parameter_outside_of_its_limits(session: Session, server: LinkServer) -> None:
    parameter = (
        'data "coder_parameter" "n" {\n  name = "n"\n  type = "number"\n  default = "1"\n'
        "  validation {\n    max = 3\n  }\n}\n"
    )
    ticket = await server.submit(pack({"main.tf": AGENT + parameter}), build_job(parameters={"n": "7"}))
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert "7 is more than the maximum 3" in failed.error


async def test_archive_with_a_wrong_digest(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(pack({"main.tf": AGENT}), import_job(), sha256="0" * 64)
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert "damaged" in failed.error


async def test_state_that_is_none(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(pack({"main.tf": AGENT}), build_job("stop", b"{}"))
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert "state can't be read" in failed.error
    assert failed.state == b""


async def test_sensitive_values_stay_out_of_the_log(session: Session, server: LinkServer) -> None:
    template = (
        AGENT
        + 'variable "password" {\n  sensitive = true\n}\n'
        + 'resource "terraform_data" "x" {\n  provisioner "local-exec" {\n'
        + '    command = "echo the password is ${nonsensitive(var.password)}; exit 3"\n  }\n}\n'
    )
    variables = (Variable("password", "correct horse"),)
    ticket = await server.submit(pack({"main.tf": template}), build_job(variables=variables))
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert "the password is (secret)" in ticket.text
    assert "correct horse" not in ticket.text + failed.error


MODULE = {
    "main.tf": AGENT
    + 'module "tools" {\n  source   = "./tools"\n  agent_id = coder_agent.main.id\n}\n'
    + 'resource "terraform_data" "box" {\n  input = coder_agent.main.token\n}\n',
    "tools/main.tf": 'variable "agent_id" {}\n'
    'terraform {\n  required_providers {\n    coder = { source = "coder/coder" }\n  }\n}\n'
    'resource "coder_script" "s" {\n  count = 2\n  agent_id = var.agent_id\n  display_name = "S${count.index}"\n'
    '  script = "true"\n  run_on_start = true\n}\n'
    'resource "terraform_data" "decoy" {\n  input = coder_script.s[0].id\n}\n',
}


async def test_module_template(session: Session, server: LinkServer) -> None:
    archive = pack(MODULE)
    ticket = await server.submit(archive, import_job())
    done = await ticket.result()
    assert isinstance(done, ImportDone), ticket.text
    assert done.agent_resources == {"coder_agent.main": "terraform_data.box"}
    assert done.variables == ()
    ticket = await server.submit(archive, build_job(agent_resources=done.agent_resources))
    built = await ticket.result()
    assert isinstance(built, BuildDone), ticket.text
    assert "Initializing" not in ticket.text
    by_address = {resource.address: resource for resource in built.resources}
    assert sorted(by_address) == ["module.tools.terraform_data.decoy", "terraform_data.box"]
    (agent,) = by_address["terraform_data.box"].agents
    assert [script.display_name for script in agent.scripts] == ["S0", "S1"]


@pytest.mark.parametrize("backend", ["binary"], indirect=True)
async def test_old_terraform_is_told_in_the_log(session: Session, server: LinkServer, terraform) -> None:
    if not terraform.version.startswith("1.11."):
        pytest.skip(f"this Terraform is {terraform.version}")
    ticket = await server.submit(pack({"main.tf": AGENT}), import_job())
    done = await ticket.result()
    assert isinstance(done, ImportDone)
    assert "need 1.12 or newer" in ticket.text
    assert any("1.12" in warning for warning in done.warnings)
