"""Who depends on whom, from `terraform graph` or from the state, and what follows for agents.

The graph depends on neither state nor parameter values, so it is read once per template version. Invariant:
nodes are labels (addresses without index keys); an edge goes from a resource to what it needs.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from devyard.provisioner.results.instances import Instance, own_type

Graph = Mapping[str, frozenset[str]]
"""Label → labels that it needs directly."""

_NODE = re.compile(r'^\s*"((?:[^"\\]|\\.)+)"(?:\s*->\s*"((?:[^"\\]|\\.)+)")?')


def parse_graph(text: str) -> Graph:
    """The graph that `terraform graph` prints (DOT, resources only)."""
    needs: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = _NODE.match(line)
        if not match:
            continue
        needs.setdefault(match[1], set())
        if match[2]:
            needs[match[1]].add(match[2])
    return {label: frozenset(found) for label, found in needs.items()}


def graph_of_state(instances: Iterable[Instance]) -> Graph:
    """The graph that a state's dependencies (which are transitive) come from."""
    closure: dict[str, set[str]] = {}
    for instance in instances:
        closure.setdefault(instance.label, set()).update(instance.dependencies)
    return {
        label: frozenset(
            need for need in needs if not any(need in closure.get(other, ()) for other in needs if other != need)
        )
        for label, needs in closure.items()
    }


def type_of(label: str) -> str:
    """The resource type in a label; empty for data sources."""
    parts = label.split(".")
    while len(parts) > 2 and parts[0] == "module":
        parts = parts[2:]
    return "" if len(parts) < 2 or parts[0] == "data" else parts[0]


def find_agent_resources(graph: Graph) -> dict[str, str]:
    """Agent label → label of the resource that it runs in: the nearest that depends on it, ties by label."""
    needed_by: dict[str, set[str]] = {}
    for label, needs in graph.items():
        for need in needs:
            needed_by.setdefault(need, set()).add(label)
    found = {}
    for label in sorted(graph):
        if own_type(type_of(label)) == "agent":
            resource = _nearest(label, needed_by, _is_listed)
            if resource:
                found[label] = resource
    return found


def find_nearest(label: str, graph: Graph, is_wanted: Callable[[str], bool]) -> str | None:
    """The nearest label that `label` needs and that is wanted, ties by label."""
    return _nearest(label, graph, is_wanted)


def is_agent(label: str) -> bool:
    """Whether a label names an agent."""
    return own_type(type_of(label)) == "agent"


def _is_listed(label: str) -> bool:
    type_ = type_of(label)
    return bool(type_) and not own_type(type_)


def _nearest(start: str, edges: Mapping[str, Iterable[str]], is_wanted: Callable[[str], bool]) -> str | None:
    seen = {start}
    level = deque([start])
    while level:
        following = sorted({target for label in level for target in edges.get(label, ())} - seen)
        for label in following:
            if is_wanted(label):
                return label
        seen.update(following)
        level = deque(following)
    return None
