"""Resource instances as Terraform's state (v4) and plan (JSON) hold them, in one shape.

Read by the other files of this folder. Invariant: an instance's `label` is its address without index keys, the
form in which Terraform's graph names it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

AUXILIARY = frozenset(
    ("agent", "agent_instance", "app", "script", "env", "metadata", "devcontainer", "ai_task", "external_agent")
)
"""Types of our provider that describe other resources and are not listed themselves."""

_PREFIXES = ("coder_", "devyard_")
_INDEX_KEY = re.compile(r'\[(?:\d+|"(?:[^"\\]|\\.)*")\]')


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. `attributes` lacks what is not known yet; `dependencies`: labels, transitive."""

    address: str
    label: str
    type: str
    name: str
    key: int | str | None = None
    is_data: bool = False
    attributes: dict[str, Any] = {}
    dependencies: frozenset[str] = frozenset()

    @property
    def own_type(self) -> str:
        """The name of our provider's auxiliary type (`agent`), or empty for any other resource."""
        return "" if self.is_data else own_type(self.type)

    def text(self, name: str) -> str:
        """A string attribute; empty where it is null or unknown."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        value = self.attributes.get(name)
        return int(value) if isinstance(value, int | float) else default

    def flag(self, name: str) -> bool:
        """A boolean attribute; false where it is null or unknown."""
        return self.attributes.get(name) is True

    def blocks(self, name: str) -> list["Instance"]:
        """Nested blocks, each readable like an instance."""
        found = self.attributes.get(name)
        values = found if isinstance(found, list) else []
        return [msgspec.structs.replace(self, attributes=value) for value in values if isinstance(value, dict)]


class StateHead(msgspec.Struct, frozen=True):
    """What tells two states apart: the same `lineage`, and a higher `serial` is newer."""

    version: int
    serial: int
    lineage: str


class _StateInstance(msgspec.Struct):
    attributes: dict[str, Any] | None = None
    index_key: int | str | None = None
    dependencies: list[str] = []
    deposed: str = ""


class _StateResource(msgspec.Struct):
    mode: str
    type: str
    name: str
    instances: list[_StateInstance] = []
    module: str = ""


class _State(msgspec.Struct):
    version: int
    resources: list[_StateResource] = []


class _PlanResource(msgspec.Struct):
    address: str
    mode: str
    type: str
    name: str
    index: int | str | None = None
    values: dict[str, Any] | None = None


class _PlanModule(msgspec.Struct):
    resources: list[_PlanResource] = []
    child_modules: list["_PlanModule"] = []


class _PlannedValues(msgspec.Struct):
    root_module: _PlanModule = msgspec.field(default_factory=_PlanModule)


class _Plan(msgspec.Struct):
    planned_values: _PlannedValues = msgspec.field(default_factory=_PlannedValues)


_read_head = msgspec.json.Decoder(StateHead)
_read_state = msgspec.json.Decoder(_State)
_read_plan = msgspec.json.Decoder(_Plan)


def own_type(type_: str) -> str:
    """`agent` for `coder_agent` and `devyard_agent`; empty for what is no auxiliary type of ours."""
    for prefix in _PREFIXES:
        name = type_.removeprefix(prefix)
        if name != type_ and name in AUXILIARY:
            return name
    return ""


def label_of(address: str) -> str:
    """An address without its index keys."""
    return _INDEX_KEY.sub("", address)


def read_head(state: bytes) -> StateHead | None:
    """Serial and lineage of a complete state; None for anything torn, empty or of another format."""
    try:
        head = _read_head.decode(state)
    except msgspec.DecodeError:
        return None
    return head if head.version == 4 and head.lineage else None


def read_state(state: bytes) -> list[Instance]:
    """The instances of a state, by address; empty for an empty one. Raises ValueError when it can't be read."""
    if not state.strip():
        return []
    found = []
    for resource in _read_state.decode(state).resources:
        for instance in resource.instances:
            if not instance.deposed:
                found.append(_from_state(resource, instance))
    return sorted(found, key=lambda instance: instance.address)


def read_plan(plan: bytes) -> list[Instance]:
    """The instances that there will be after a plan is applied, by address. Raises ValueError."""
    root = _read_plan.decode(plan).planned_values.root_module
    return sorted((_from_plan(resource) for resource in _walk(root)), key=lambda instance: instance.address)


def has_resources(state: bytes) -> bool:
    """Whether there is something that Terraform would have to destroy."""
    if not state.strip():
        return False
    return any(
        resource.mode == "managed" and resource.instances for resource in _read_state.decode(state).resources
    )


def list_addresses(instances: Sequence[Instance]) -> set[str]:
    """The addresses of the managed ones."""
    return {instance.address for instance in instances if not instance.is_data}


def list_ids(instances: Sequence[Instance]) -> dict[str, str]:
    """The ids of the managed ones by address; empty where a resource has none that is text."""
    return {instance.address: instance.text("id") for instance in instances if not instance.is_data}


def _from_state(resource: _StateResource, instance: _StateInstance) -> Instance:
    is_data = resource.mode == "data"
    parts = [resource.module, "data" if is_data else "", resource.type, resource.name]
    address = ".".join(part for part in parts if part)
    if instance.index_key is not None:
        address += f"[{msgspec.json.encode(instance.index_key).decode()}]"
    return Instance(
        address=address,
        label=label_of(address),
        type=resource.type,
        name=resource.name,
        key=instance.index_key,
        is_data=is_data,
        attributes=instance.attributes or {},
        dependencies=frozenset(instance.dependencies),
    )


def _from_plan(resource: _PlanResource) -> Instance:
    return Instance(
        address=resource.address,
        label=label_of(resource.address),
        type=resource.type,
        name=resource.name,
        key=resource.index,
        is_data=resource.mode == "data",
        attributes=resource.values or {},
    )


def _walk(module: _PlanModule) -> Iterator[_PlanResource]:
    yield from module.resources
    for child in module.child_modules:
        yield from _walk(child)
