import json

import pytest

from devyard.provisioner.results.agents import TemplateError
from devyard.provisioner.results.graph import find_agent_resources, graph_of_state, parse_graph
from devyard.provisioner.results.instances import has_resources, label_of, read_head, read_plan, read_state
from devyard.provisioner.results.resources import collect_resources
from devyard.wire.provisionerresults import ResourceResult

GRAPH = """
digraph G {
  rankdir = "RL";
  node [shape = rect, fontname = "sans-serif"];
  "coder_agent.a" [label="coder_agent.a"];
  "coder_agent.b" [label="coder_agent.b"];
  "coder_agent.lonely" [label="coder_agent.lonely"];
  subgraph "cluster_module.m" {
    label = "module.m"
    "module.m.coder_script.s" [label="coder_script.s"];
    "module.m.docker_container.deep" [label="docker_container.deep"];
  }
  "module.m.coder_script.s" -> "coder_agent.a";
  "module.m.docker_container.deep" -> "module.m.coder_script.s";
  "docker_container.near" -> "coder_agent.a";
  "data.http.x" -> "coder_agent.b";
  "devyard_sandbox.z" -> "coder_agent.b";
  "devyard_sandbox.y" -> "coder_agent.b";
  "devyard_app.x" -> "coder_agent.b";
}
"""


def resource(type_: str, name: str, *instances: dict, mode: str = "managed", module: str = "") -> dict:
    found = {"mode": mode, "type": type_, "name": name, "provider": "p", "instances": list(instances)}
    return {**found, "module": module} if module else found


def instance(key: object = None, needs: tuple[str, ...] = (), **attributes: object) -> dict:
    found: dict = {"schema_version": 0, "attributes": attributes, "dependencies": list(needs)}
    return found if key is None else {**found, "index_key": key}


def state(*resources: dict, serial: int = 1) -> bytes:
    head = {"version": 4, "terraform_version": "1.15.5", "serial": serial, "lineage": "l", "outputs": {}}
    return json.dumps({**head, "resources": list(resources)}).encode()


def collect(*resources: dict, links: dict[str, str] | None = None) -> dict[str, ResourceResult]:
    collected = collect_resources(read_state(state(*resources)), links or {})
    return {result.address: result for result in collected.resources}


AGENT = resource("coder_agent", "main", instance(id="A", os="linux", arch="amd64", token="T"))


def box(*needs: str, key: object = None, **attributes: object) -> dict:
    return resource("docker_container", "box", instance(key, needs or ("coder_agent.main",), **attributes))


def test_agents_belong_to_the_nearest_resource() -> None:
    assert find_agent_resources(parse_graph(GRAPH)) == {
        "coder_agent.a": "docker_container.near",
        "coder_agent.b": "devyard_sandbox.y",
    }


def test_the_state_says_the_same_as_the_graph() -> None:
    resources = [
        AGENT,
        resource("coder_script", "s", instance(needs=("coder_agent.main",), agent_id="A"), module="module.m"),
        resource(
            "docker_container",
            "decoy",
            instance(needs=("coder_agent.main", "module.m.coder_script.s")),
        ),
        box("coder_agent.main"),
    ]
    graph = graph_of_state(read_state(state(*resources)))
    assert graph["docker_container.decoy"] == {"module.m.coder_script.s"}
    assert find_agent_resources(graph) == {"coder_agent.main": "docker_container.box"}


@pytest.mark.parametrize(
    ("address", "label"),
    [
        ("a.b", "a.b"),
        ('module.x["k.[0]"].a.b[3]', "module.x.a.b"),
        (r'a.b["with \"quotes\"]"]', "a.b"),
    ],
)
def test_labels(address: str, label: str) -> None:
    assert label_of(address) == label


def test_addresses_of_a_state() -> None:
    found = read_state(
        state(
            resource("a", "b", instance("k"), instance(0), module='module.m["x"]'),
            resource("c", "d", instance(), {"attributes": {}, "deposed": "1234"}),
            resource("e", "f", instance(), mode="data"),
        )
    )
    assert [i.address for i in found] == ["c.d", "data.e.f", 'module.m["x"].a.b["k"]', 'module.m["x"].a.b[0]']
    assert read_state(b"") == []


def test_heads_of_torn_states() -> None:
    whole = state(AGENT, serial=7)
    head = read_head(whole)
    assert head
    assert (head.serial, head.lineage) == (7, "l")
    assert all(read_head(whole[:cut]) is None for cut in range(len(whole) - 1))
    assert read_head(b'{"version": 3, "serial": 1, "lineage": "l"}') is None


def test_whether_there_is_something_to_destroy() -> None:
    assert not has_resources(b"")
    assert not has_resources(state(resource("a", "b", instance(), mode="data"), resource("c", "d")))
    assert has_resources(state(AGENT))


def test_auxiliary_types_are_not_listed() -> None:
    found = collect(AGENT, box(), resource("devyard_sandbox_home", "h", instance()))
    assert list(found) == ["devyard_sandbox_home.h", "docker_container.box"]
    assert found["docker_container.box"].agents[0].token == "T"


def test_agent_of_a_stopped_resource_is_left_out() -> None:
    assert collect(AGENT, links={"coder_agent.main": "docker_container.box"}) == {}


def test_agent_in_no_resource_is_listed_itself() -> None:
    (only,) = collect(AGENT).values()
    assert (only.address, only.agents[0].name) == ("coder_agent.main", "main")


def test_agents_and_resources_with_keys_go_together() -> None:
    agents = resource("coder_agent", "main", instance("a", id="1"), instance("b", id="2"))
    boxes = resource(
        "docker_container",
        "box",
        instance("a", ("coder_agent.main",)),
        instance("b", ("coder_agent.main",)),
    )
    apps = resource("coder_app", "x", instance("a", agent_id="1", slug="x"), instance("b", agent_id="2", slug="x"))
    found = collect(agents, boxes, apps)
    assert {address: [agent.name for agent in r.agents] for address, r in found.items()} == {
        'docker_container.box["a"]': ["main-a"],
        'docker_container.box["b"]': ["main-b"],
    }


def test_two_agents_of_one_name_are_refused() -> None:
    other = resource("coder_agent", "Main", instance(id="B"), module="module.m")
    with pytest.raises(TemplateError, match=r"coder_agent\.main and module\.m\.coder_agent\.Main"):
        collect(AGENT, other)


def test_environment_is_merged_in_the_order_of_addresses() -> None:
    agent = resource("coder_agent", "main", instance(id="A", env={"PATH": "/bin", "X": "1"}))

    def env(name: str, variable: str, value: str, strategy: str | None) -> dict:
        return resource(
            "coder_env", name, instance(agent_id="A", name=variable, value=value, merge_strategy=strategy)
        )

    found = collect(
        agent,
        env("b", "PATH", "/b", "append"),
        env("a", "PATH", "/a", "prepend"),
        env("c", "X", "2", None),
        env("d", "NEW", "n", "error"),
    )
    assert found["coder_agent.main"].agents[0].environment == {"PATH": "/a:/bin:/b", "X": "2", "NEW": "n"}
    with pytest.raises(TemplateError, match=r"coder_env\.d sets the variable \"X\""):
        collect(agent, env("d", "X", "n", "error"))


@pytest.mark.parametrize("type_", ["coder_app", "coder_script", "devyard_env"])
def test_blocks_of_an_unknown_agent_are_named(type_: str) -> None:
    with pytest.raises(TemplateError, match=rf'{type_}\.lost refers to the agent "nobody"'):
        collect(AGENT, box(), resource(type_, "lost", instance(agent_id="nobody")))


def test_two_apps_with_one_slug_are_refused() -> None:
    apps = [resource("coder_app", name, instance(agent_id="A", slug="x")) for name in "ab"]
    with pytest.raises(TemplateError, match="same slug"):
        collect(AGENT, box(), *apps)


def test_metadata_of_a_resource_and_of_nothing() -> None:
    metadata = resource(
        "coder_metadata",
        "m",
        instance(
            resource_id="box-id",
            hide=True,
            icon="/i",
            daily_cost=3,
            item=[{"key": "k", "value": "v", "sensitive": True}, {"key": "n", "value": None, "is_null": True}],
        ),
    )
    resources = [AGENT, box(id="box-id"), metadata]
    found = collect(*resources)["docker_container.box"]
    assert (found.hide, found.icon, found.daily_cost) == (True, "/i", 3)
    assert [(item.key, item.value, item.sensitive) for item in found.metadata] == [("k", "v", True)]
    lost = resource("coder_metadata", "lost", instance(resource_id="nothing"))
    collected = collect_resources(read_state(state(*resources, lost)), {})
    assert "coder_metadata.lost describes no resource" in collected.warnings[0]


def test_cloud_machines_prove_themselves_by_their_id() -> None:
    agent = resource("coder_agent", "main", instance(id="A", auth="aws-instance-identity"))
    machine = resource("aws_instance", "vm", instance(needs=("coder_agent.main",), id="i-1", instance_type="t3"))
    found = collect(agent, machine)["aws_instance.vm"]
    assert (found.instance_type, found.agents[0].instance_id) == ("t3", "i-1")


def test_plan_finds_agents_by_the_graph() -> None:
    def planned(type_: str, name: str, **values: object) -> dict:
        return {"address": f"{type_}.{name}", "mode": "managed", "type": type_, "name": name, "values": values}

    plan = {
        "planned_values": {
            "root_module": {
                "resources": [planned("coder_agent", "a", os="linux"), planned("docker_container", "near")],
                "child_modules": [
                    {"resources": [{**planned("coder_script", "s"), "address": "module.m.coder_script.s"}]}
                ],
            }
        }
    }
    graph = parse_graph(GRAPH)
    collected = collect_resources(read_plan(json.dumps(plan).encode()), find_agent_resources(graph), graph)
    (near,) = collected.resources
    assert [script.display_name for script in near.agents[0].scripts] == ["s"]
