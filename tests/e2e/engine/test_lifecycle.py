"""A workspace's whole life through the link: import, create, start, stop, delete, with both backends."""

import msgspec

from devyard.provisioner.link.session import Session
from devyard.wire.provisionerlink import BuildDone, DryRunDone, ImportDone, Variable

from .jobs import FULL, SESSION_TOKEN, build_job, dry_run_job, import_job, make_context
from .linkserver import LinkServer, pack

ARCHIVE = pack({"main.tf": FULL, "README.md": "# Full\n"})


async def test_import_finds_what_the_template_asks_for_and_makes(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(ARCHIVE, import_job())
    done = await ticket.result()
    assert isinstance(done, ImportDone), ticket.text
    assert [parameter.name for parameter in done.parameters] == ["size"]
    assert done.parameters[0].validation_max == 8
    assert [(v.name, v.default_value, v.required) for v in done.variables] == [("image", "debian", False)]
    assert [(preset.name, preset.parameters) for preset in done.presets] == [("Big", {"size": "8"})]
    assert done.agent_resources == {"coder_agent.main": "terraform_data.machine"}
    assert done.readme == "# Full\n"
    assert [resource.address for resource in done.start_resources] == [
        "terraform_data.disk",
        "terraform_data.machine[0]",
    ]
    assert [resource.address for resource in done.stop_resources] == ["terraform_data.disk"]
    (agent,) = done.start_resources[1].agents
    assert (agent.name, [app.slug for app in agent.apps]) == ("main", ["code"])
    assert done.start_resources[1].daily_cost == 17


async def test_life_of_a_workspace(session: Session, server: LinkServer) -> None:
    context = make_context()
    agent_resources = {"coder_agent.main": "terraform_data.machine"}
    state = b""
    tokens = []
    for transition in ("start", "stop", "start", "delete"):
        context = msgspec.structs.replace(context, build_id=f"{transition}-{len(tokens)}")
        work = build_job(
            transition, state, context=context, parameters={"size": "4"}, agent_resources=agent_resources
        )
        ticket = await server.submit(ARCHIVE, work)
        done = await ticket.result()
        assert isinstance(done, BuildDone), ticket.text
        addresses = [resource.address for resource in done.resources]
        if transition == "start":
            assert addresses == ["terraform_data.disk", "terraform_data.machine[0]"]
            (agent,) = done.resources[1].agents
            tokens.append(agent.token)
            check_agent(agent)
            check_machine(done.resources[1])
        else:
            assert addresses == (["terraform_data.disk"] if transition == "stop" else [])
        state = done.state
        assert SESSION_TOKEN not in ticket.text
        assert tokens[-1] not in ticket.text
    assert len(set(tokens)) == 2, "each start has a token of its own"
    assert server.file_requests == 1, "the template is fetched once"


def check_agent(agent) -> None:
    assert len(agent.token) > 30
    assert (agent.os, agent.arch, agent.directory) == ("linux", "amd64", "/home/dev")
    assert agent.environment == {"PATH": "/bin:/opt/bin", "OWN": "1"}
    assert agent.startup_behavior == "blocking"
    assert [(m.key, m.display_name, m.interval_s, m.timeout_s) for m in agent.metadata] == [("cpu", "CPU", 10, 1)]
    assert agent.display_apps == ("vscode", "web_terminal", "ssh_helper", "port_forwarding_helper")
    scripts = {script.display_name: script for script in agent.scripts}
    assert list(scripts) == ["Startup Script", "Shutdown Script", "Tools"]
    startup = scripts["Startup Script"]
    assert (startup.run_on_start, startup.start_blocks_login, startup.script) == (True, True, "echo hello")
    assert (scripts["Shutdown Script"].run_on_stop, scripts["Tools"].timeout_s) == (True, 60)
    (app,) = agent.apps
    assert (app.slug, app.display_name, app.subdomain, app.share) == ("code", "code-server", True, "authenticated")
    assert (app.health_interval_s, app.health_threshold) == (5, 6)


def check_machine(machine) -> None:
    assert (machine.type, machine.name) == ("terraform_data", "machine")
    assert (machine.icon, machine.daily_cost, machine.hide) == ("/icon/debian.svg", 17, False)
    items = [(item.key, item.value, item.sensitive) for item in machine.metadata]
    assert items == [("size", "4", False), ("hidden", "x", True)]


async def test_the_log_tells_the_story(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(ARCHIVE, build_job())
    assert isinstance(await ticket.result(), BuildDone)
    stages = list(dict.fromkeys(line.stage for line in ticket.lines))
    assert stages == ["Setting up", "Starting workspace"]
    assert "coder_agent.main: Creation complete" in ticket.text
    assert "Apply complete! Resources: 7 added" in ticket.text


async def test_variables_reach_terraform(session: Session, server: LinkServer) -> None:
    value = 'quoted "x" ${not} \\ back'
    ticket = await server.submit(ARCHIVE, build_job(variables=(Variable("image", value),)))
    done = await ticket.result()
    assert isinstance(done, BuildDone), ticket.text
    state = msgspec.json.decode(done.state)
    machine = next(r for r in state["resources"] if (r["type"], r["name"]) == ("terraform_data", "machine"))
    assert machine["instances"][0]["attributes"]["input"]["value"]["image"] == value


async def test_dry_run_plans_and_applies_nothing(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(ARCHIVE, dry_run_job(parameters={"size": "3"}))
    done = await ticket.result()
    assert isinstance(done, DryRunDone), ticket.text
    assert [resource.address for resource in done.resources] == [
        "terraform_data.disk",
        "terraform_data.machine[0]",
    ]
    assert done.resources[1].metadata[0].value == "3"


async def test_delete_without_resources_needs_no_terraform(session: Session, server: LinkServer) -> None:
    ticket = await server.submit(pack({"main.tf": "this is broken {"}), build_job("delete"))
    done = await ticket.result()
    assert isinstance(done, BuildDone)
    assert "nothing to destroy" in ticket.text
