"""An agent's identity over plans, refreshes, builds, imports and moves."""

import asyncio
import json

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.sandboxes import SandboxSpec, SandboxStatus
from tests.e2e.provider.conftest import Terraform

AGENT = 'resource "coder_agent" "main" {\n  os   = "linux"\n  arch = "amd64"\n}\n'


def build(build_id: str, **more: object) -> BuildContext:
    return BuildContext(
        build_id=build_id, agent_init_scripts={"linux/amd64": "run ${ACCESS_URL} ${AUTH_TYPE}"}, **more
    )


async def test_token_lasts_one_build(terraform: Terraform) -> None:
    terraform.write(AGENT)
    first = (await terraform.apply_well(build("b1")))["coder_agent.main"]
    same = (await terraform.apply_well(build("b1")))["coder_agent.main"]
    outside = (await terraform.apply_well(build("")))["coder_agent.main"]
    second = (await terraform.apply_well(build("b2")))["coder_agent.main"]
    assert first["token"] == same["token"] == outside["token"]
    assert second["token"] != first["token"]
    assert second["id"] == first["id"]


async def test_a_claimed_agent_keeps_its_token(terraform: Terraform) -> None:
    terraform.write(AGENT)
    first = (await terraform.apply_well(build("b1")))["coder_agent.main"]
    kept = (await terraform.apply_well(build("b2", running_agent_token=first["token"])))["coder_agent.main"]
    assert kept["token"] == first["token"]


async def test_change_replaces(terraform: Terraform) -> None:
    terraform.write(AGENT)
    first = (await terraform.apply_well(build("b1")))["coder_agent.main"]
    terraform.write(AGENT.replace("amd64", "arm64"))
    planned = await terraform.plan(build("b1"))
    assert "forces replacement" in planned.output
    context = BuildContext(build_id="b1", agent_init_scripts={"linux/arm64": "arm"})
    second = (await terraform.apply_well(context))["coder_agent.main"]
    assert second["id"] != first["id"]
    assert second["init_script"] == "arm"


async def test_access_url_of_a_later_build_reaches_the_script(terraform: Terraform) -> None:
    terraform.write(AGENT)
    await terraform.apply_well(build("b1", access_url="http://one"))
    state = await terraform.apply_well(build("b2", access_url="http://two/"))
    assert state["coder_agent.main"]["init_script"] == "run http://two token"


async def test_state_of_another_provider_version_is_taken_over(terraform: Terraform) -> None:
    terraform.write(AGENT)
    await terraform.apply_well(build("b1"))
    path = terraform.folder / "terraform.tfstate"
    state = json.loads(path.read_text())
    attributes = state["resources"][0]["instances"][0]["attributes"]
    attributes["login_before_ready"] = True
    del attributes["motd_file"]
    state["resources"][0]["instances"][0]["private"] = "bm9uc2Vuc2U="
    path.write_text(json.dumps(state))
    again = await terraform.plan(build(""), "-detailed-exitcode")
    assert again.code == 0, again.output


async def test_import(terraform: Terraform) -> None:
    terraform.write('resource "coder_env" "e" {\n  agent_id = "a"\n  name = "N"\n}\n')
    result = await terraform.run("import", "-no-color", "coder_env.e", "e1", context=build("b1"))
    assert result.code == 0, result.output
    assert terraform.state()["coder_env.e"]["id"] == "e1"


async def test_a_resource_may_change_its_prefix(terraform: Terraform) -> None:
    terraform.write(AGENT)
    first = (await terraform.apply_well(build("b1")))["coder_agent.main"]
    terraform.write(
        AGENT.replace("coder_agent", "devyard_agent")
        + "moved {\n  from = coder_agent.main\n  to   = devyard_agent.main\n}\n"
    )
    state = await terraform.apply_well(build("b1"))
    assert state["devyard_agent.main"]["id"] == first["id"]
    assert state["devyard_agent.main"]["token"] == first["token"]


async def test_interrupt_finishes_what_is_in_flight(terraform: Terraform) -> None:
    """SIGINT while a create runs: it is finished and saved, the next resource is not begun."""
    started, may_end = asyncio.Event(), asyncio.Event()

    async def start(spec: SandboxSpec) -> SandboxStatus:
        started.set()
        await may_end.wait()
        return SandboxStatus(id=spec.id, pid=7)

    terraform.sandboxes.start = start  # type: ignore[method-assign]
    terraform.write(
        'resource "devyard_sandbox" "main" {\n  init_script = "true"\n}\n'
        'resource "coder_env" "after" {\n  agent_id = devyard_sandbox.main.id\n  name = "N"\n}\n'
    )
    apply = asyncio.create_task(terraform.apply(build("b1")))
    await asyncio.wait_for(started.wait(), 30)
    terraform.interrupt()
    await asyncio.wait_for(terraform.interrupted.wait(), 30)
    may_end.set()
    result = await apply
    assert result.code == 1, result.output
    assert list(terraform.state()) == ["devyard_sandbox.main"]
