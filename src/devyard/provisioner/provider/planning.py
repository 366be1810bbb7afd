"""What a plan says: defaults, values known only after apply, and what has to be replaced.

Pure; called by the service for plan, apply and data sources. Every attribute of ours is immutable in place,
so a change of anything that the template sets replaces the resource, and no change at all gives the prior
state back.
"""

from typing import Any, NamedTuple

import msgspec

from devyard.provisioner.provider.schema import Attribute, Block, Type, Values
from devyard.provisioner.provider.values import UNKNOWN, has_unknown


class Plan(NamedTuple):
    """The planned state, and the top-level names whose change forces replacement."""

    values: Values
    replaces: tuple[str, ...]


def fill_defaults(block: Block, config: Values, *, computed: Any = UNKNOWN) -> Values:
    """The configuration with defaults and derived attributes; other computed ones become `computed`."""
    values: Values = {}
    for name, attribute in block.attributes.items():
        values[name] = _configured(attribute, config.get(name), computed)
    for name, nested in block.blocks.items():
        inner = config.get(name)
        if isinstance(inner, list):
            inner = [
                fill_defaults(nested.block, each, computed=computed) if isinstance(each, dict) else each
                for each in inner
            ]
        values[name] = [] if inner is None else inner
    for name, attribute in block.attributes.items():
        if attribute.derive is not None:
            values[name] = attribute.derive(values)
    return values


def plan_change(block: Block, config: Values, prior: Values | None) -> Plan:
    """The plan for a resource of which the template says `config` and the state `prior` (None: create)."""
    desired = fill_defaults(block, config)
    if prior is None:
        return Plan(desired, ())
    replaces = tuple(name for name in desired if _differs(block, name, desired, prior))
    return Plan(desired, replaces) if replaces else Plan(prior, ())


def _configured(attribute: Attribute, value: Any, computed: Any) -> Any:
    if attribute.mode == "computed":
        return computed
    return attribute.default if value is None else value


def _differs(block: Block, name: str, desired: Values, prior: Values) -> bool:
    attribute = block.attributes.get(name)
    if attribute is not None and attribute.mode == "computed":
        return False
    if has_unknown(desired[name]):
        return True
    return bool(_canonical_at(block, name, desired) != _canonical_at(block, name, prior))


def _canonical_at(block: Block, name: str, values: Values) -> Any:
    """The value so that equal ones compare equal: sets in a fixed order, computed attributes left out."""
    value = values.get(name)
    if name in block.attributes:
        return _canonical(block.attributes[name].type, value)
    nested = block.blocks[name]
    items = [_canonical_block(nested.block, each) for each in value or ()]
    return sorted(items, key=_sort_key) if nested.nesting == "set" else items


def _canonical_block(block: Block, values: Values) -> Values:
    names = [name for name, attribute in block.attributes.items() if attribute.mode != "computed"]
    return {name: _canonical_at(block, name, values) for name in (*names, *block.blocks)}


def _canonical(type_: Type, value: Any) -> Any:
    if isinstance(type_, tuple) and type_[0] == "set" and isinstance(value, list):
        return sorted(value, key=_sort_key)
    return value


def _sort_key(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
