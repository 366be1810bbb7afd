"""The resources that people see, with their agents and metadata, from instances of a state or a plan.

Jobs call `collect_resources` after an apply (values are known: blocks find their agent by its id) and after a
plan (ids are not known: they find it by the graph). Invariant: our auxiliary types are never listed, except an
agent's own block when it runs in no resource at all.
"""

from collections.abc import Mapping, Sequence

import msgspec

from devyard.provisioner.results.agents import TemplateError, describe_agent, name_agents
from devyard.provisioner.results.graph import Graph, find_agent_resources, find_nearest, graph_of_state, is_agent
from devyard.provisioner.results.instances import Instance
from devyard.wire.provisionerresults import AgentResult, ResourceMetadataResult, ResourceResult

_REFERRING = ("app", "script", "env", "agent_instance")

_INSTANCE_TYPES = {
    "google_compute_instance": "machine_type",
    "aws_instance": "instance_type",
    "aws_spot_instance_request": "instance_type",
    "azurerm_linux_virtual_machine": "size",
    "azurerm_windows_virtual_machine": "size",
}
_INSTANCE_IDS = {
    "google_compute_instance": "instance_id",
    "aws_instance": "id",
    "aws_spot_instance_request": "spot_instance_id",
    "azurerm_linux_virtual_machine": "virtual_machine_id",
    "azurerm_windows_virtual_machine": "virtual_machine_id",
}


class Collected(msgspec.Struct, frozen=True):
    """What there is, and what did not fit but does no harm."""

    resources: tuple[ResourceResult, ...]
    warnings: tuple[str, ...] = ()


def collect_resources(
    instances: Sequence[Instance], agent_resources: Mapping[str, str], graph: Graph | None = None
) -> Collected:
    """What people see of `instances`.

    `agent_resources`: agent label → resource label, as found at the template's import; what it lacks is found
    by `graph`, or without one by the dependencies in the state. Raises TemplateError naming the block.
    """
    return _Collector(instances, agent_resources, graph or graph_of_state(instances)).collect()


class _Collector:
    def __init__(self, instances: Sequence[Instance], agent_resources: Mapping[str, str], graph: Graph) -> None:
        managed = [instance for instance in instances if not instance.is_data]
        self._own = [instance for instance in managed if instance.own_type]
        self._listed = [instance for instance in managed if not instance.own_type]
        self._agents = [instance for instance in self._own if instance.own_type == "agent"]
        self._graph = graph
        self._agent_resources = {**find_agent_resources(graph), **agent_resources}
        self._warnings: list[str] = []

    def collect(self) -> Collected:
        places = self._place_agents()
        agents = self._describe_agents(places)
        metadata = self._place_metadata(places)
        resources = [
            _describe_resource(resource, agents.get(resource.address, []), metadata.get(resource.address))
            for resource in (*self._listed, *(a for a in self._agents if a.address in agents))
        ]
        return Collected(tuple(resources), tuple(self._warnings))

    def _place_agents(self) -> dict[str, Instance]:
        """Agent address → the resource it is listed under; agents whose resource is not there now are left out."""
        places = {}
        for agent in self._agents:
            label = self._agent_resources.get(agent.label)
            if label is None:
                places[agent.address] = agent
                continue
            candidates = [resource for resource in self._listed if resource.label == label]
            same_key = [resource for resource in candidates if resource.key == agent.key]
            if candidates:
                places[agent.address] = (same_key or candidates)[0]
        return places

    def _describe_agents(self, places: Mapping[str, Instance]) -> dict[str, list[AgentResult]]:
        names = name_agents([agent for agent in self._agents if agent.address in places])
        refer = self._group_by_agent()
        found: dict[str, list[AgentResult]] = {}
        for agent in self._agents:
            place = places.get(agent.address)
            if place is None:
                continue
            blocks = refer.get(agent.address, {})
            result = describe_agent(agent, names[agent.address], blocks, _instance_id(agent, place, blocks))
            found.setdefault(place.address, []).append(result)
        return found

    def _group_by_agent(self) -> dict[str, dict[str, list[Instance]]]:
        """Agent address → auxiliary type → blocks."""
        groups: dict[str, dict[str, list[Instance]]] = {}
        for block in self._own:
            if block.own_type in _REFERRING:
                agent = self._find_agent(block)
                groups.setdefault(agent.address, {}).setdefault(block.own_type, []).append(block)
        return groups

    def _find_agent(self, block: Instance) -> Instance:
        agent_id = block.text("agent_id")
        if agent_id:
            for agent in self._agents:
                if agent.text("id") == agent_id:
                    return agent
            raise TemplateError(
                f'{block.address} refers to the agent "{agent_id}", but this template has no such agent; '
                "set its agent_id to the id of an agent, as in coder_agent.NAME.id."
            )
        label = find_nearest(block.label, self._graph, is_agent)
        candidates = [agent for agent in self._agents if agent.label == label]
        same_key = [agent for agent in candidates if agent.key == block.key]
        if not candidates:
            raise TemplateError(
                f"{block.address} refers to no agent; set its agent_id to the id of an agent, as in "
                "coder_agent.NAME.id."
            )
        return (same_key or candidates)[0]

    def _place_metadata(self, places: Mapping[str, Instance]) -> dict[str, Instance]:
        """Resource address → its metadata block."""
        found: dict[str, Instance] = {}
        for block in self._own:
            if block.own_type != "metadata":
                continue
            target = self._find_metadata_target(block, places)
            if target is None:
                self._warnings.append(
                    f"{block.address} describes no resource of this template; "
                    "set its resource_id to the id of one."
                )
            elif target.address in found and block.key is None and found[target.address].key is None:
                raise TemplateError(
                    f"{found[target.address].address} and {block.address} both describe {target.address}; a"
                    " resource has one metadata block: put their items together."
                )
            elif target.address in found:
                # With index keys a plan can't always tell which is whose.
                self._warnings.append(
                    f"{block.address} and {found[target.address].address} both describe {target.address}; "
                    "only the second is shown."
                )
            else:
                found[target.address] = block
        return found

    def _find_metadata_target(self, block: Instance, places: Mapping[str, Instance]) -> Instance | None:
        resource_id = block.text("resource_id")
        label = find_nearest(block.label, self._graph, lambda _: True)
        candidates = [resource for resource in (*self._listed, *self._agents) if resource.label == label]
        if resource_id:
            same_id = [r for r in (*self._listed, *self._agents) if r.text("id") == resource_id]
            candidates = [r for r in same_id if r.label == label] or same_id
        same_key = [resource for resource in candidates if resource.key == block.key]
        target = next(iter(same_key or candidates), None)
        return places.get(target.address, target) if target else None


def _instance_id(agent: Instance, place: Instance, blocks: Mapping[str, Sequence[Instance]]) -> str:
    """The cloud's name for the machine, by which an agent without a token proves who it is."""
    if agent.text("auth") in ("", "token"):
        return ""
    given = blocks.get("agent_instance")
    return given[0].text("instance_id") if given else place.text(_INSTANCE_IDS.get(place.type, ""))


def _describe_resource(
    resource: Instance, agents: Sequence[AgentResult], metadata: Instance | None
) -> ResourceResult:
    return ResourceResult(
        address=resource.address,
        type=resource.type,
        name=resource.name,
        instance_type=resource.text(_INSTANCE_TYPES.get(resource.type, "")),
        hide=metadata.flag("hide") if metadata else False,
        icon=metadata.text("icon") if metadata else "",
        daily_cost=metadata.number("daily_cost") if metadata else 0,
        metadata=_describe_items(metadata) if metadata else (),
        agents=tuple(agents),
    )


def _describe_items(metadata: Instance) -> tuple[ResourceMetadataResult, ...]:
    return tuple(
        ResourceMetadataResult(item.text("key"), item.text("value"), item.flag("sensitive"))
        for item in metadata.blocks("item")
        if not item.flag("is_null")
    )
