"""Terraform's values as plain Python: dict, list, str, bool, int, float or Decimal, None, `UNKNOWN`.

Called by the service at both ends of each call. Invariant: `encode(block, decode(block, x))` means the same
as x, whatever set of attributes x was written with: missing ones become null, ones we don't know are dropped.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgpack

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.schema import Block, Type, Values


class Unknown:
    """The type of `UNKNOWN`: a value that Terraform will know only later."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Unknown":
        return self


UNKNOWN: Final = Unknown()

_UNKNOWN_WIRE = msgpack.ExtType(0, b"\x00")


def decode(block: Block, value: pb.DynamicValue) -> Values | None:
    """A value of the block's type; None for null (no such object)."""
    if value.msgpack:
        raw = msgpack.unpackb(value.msgpack, ext_hook=lambda code, data: UNKNOWN, strict_map_key=False)
    elif value.json:
        raw = json.loads(value.json, parse_float=Decimal)
    else:
        return None
    return _decode_block(block, raw) if isinstance(raw, dict) else None


def decode_json(block: Block, text: bytes) -> Values:
    """A state as it stands in Terraform's state file."""
    raw = json.loads(text, parse_float=Decimal)
    return _decode_block(block, raw if isinstance(raw, dict) else {})


def encode(block: Block, values: Values | None) -> pb.DynamicValue:
    """The value for the wire; every attribute and block of the schema is written."""
    wire = None if values is None else _encode_block(block, values)
    return pb.DynamicValue(msgpack=msgpack.packb(wire, default=_encode_special))


def has_unknown(value: Any) -> bool:
    """Whether anything inside `value` is not known yet."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value is UNKNOWN


def _decode_block(block: Block, raw: dict[str, Any]) -> Values:
    values: Values = {
        name: _decode_attribute(attribute.type, raw.get(name)) for name, attribute in block.attributes.items()
    }
    for name, nested in block.blocks.items():
        inner = raw.get(name)
        values[name] = _each(_decode_block, nested.block, inner)
        if inner is None:
            values[name] = []
    return values


def _each(convert: Callable[[Block, Values], Values], block: Block, items: Any) -> Any:
    """Converts the blocks of a list; unknown ones and an unknown list stay."""
    if not isinstance(items, list):
        return items
    return [convert(block, item) if isinstance(item, dict) else item for item in items]


def _decode_attribute(type_: Type, raw: Any) -> Any:
    """Numbers too big or too exact for msgpack travel as text; the rest is as it should be already."""
    if raw is None or raw is UNKNOWN:
        return raw
    if isinstance(type_, tuple):
        if type_[0] == "map":
            return {key: _decode_attribute(type_[1], item) for key, item in raw.items()}
        if type_[0] == "object":
            return {key: _decode_attribute(each, raw.get(key)) for key, each in type_[1].items()}
        return [_decode_attribute(type_[1], item) for item in raw]
    if type_ == "number" and isinstance(raw, str):
        return Decimal(raw)
    return raw


def _encode_block(block: Block, values: Values) -> Values:
    wire: Values = {name: values.get(name) for name in block.attributes}
    for name, nested in block.blocks.items():
        inner = values.get(name)
        wire[name] = _each(_encode_block, nested.block, inner)
        if inner is None:
            wire[name] = []
    return wire


def _encode_special(value: Any) -> Any:
    if value is UNKNOWN:
        return _UNKNOWN_WIRE
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else str(value)
    raise TypeError(f"no Terraform value: {type(value).__name__}")
