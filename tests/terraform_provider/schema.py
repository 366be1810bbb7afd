"""A provider's schema as JSON, as Terraform's protocol tells it.

A block is `{"attributes": {NAME: WORDS}, "blocks": {NAME: BLOCK}}`. WORDS are a type and flags, like
`"string required"` or `"map(string) optional computed"`; types nest: `list(map(string))`. An inner block may have
`"nesting"` (`list`, the default, or `set`), `"min"` and `"max"`. A schema is
`{"provider": BLOCK, "resources": {TYPE: BLOCK}, "data": {TYPE: BLOCK}}`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb

Block = Mapping[str, Any]

FLAGS = ("required", "optional", "computed", "sensitive")
MODES = {"list": pb.Schema.NestedBlock.LIST, "set": pb.Schema.NestedBlock.SET}


def read_schema(path: Path) -> dict[str, Any]:
    """The schema in a file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def schema_answer(schema: Mapping[str, Any]) -> pb.GetProviderSchema.Response:
    """What Terraform asks for first."""
    return pb.GetProviderSchema.Response(
        provider=_message(schema.get("provider", {})),
        resource_schemas={name: _message(block) for name, block in schema.get("resources", {}).items()},
        data_source_schemas={name: _message(block) for name, block in schema.get("data", {}).items()},
    )


def fill(block: Block, values: Mapping[str, Any], make: Callable[[str], Any]) -> dict[str, Any]:
    """The values with what `make` answers for a type wherever a computed attribute, at any depth, has none."""
    filled = dict(values)
    for name, words in block.get("attributes", {}).items():
        type_, *flags = words.split()
        if filled.get(name) is None and "computed" in flags:
            filled[name] = make(type_)
    for name, inner in block.get("blocks", {}).items():
        if isinstance(filled.get(name), list):
            filled[name] = [fill(inner, item, make) for item in filled[name]]
    return filled


def read_type(text: str) -> Any:
    """`list(map(string))` as Terraform's JSON has it."""
    outer, bracket, inner = text.partition("(")
    return [outer, read_type(inner.removesuffix(")"))] if bracket else outer


def _message(block: Block) -> pb.Schema:
    return pb.Schema(version=0, block=_block(block))


def _block(block: Block) -> pb.Schema.Block:
    return pb.Schema.Block(
        attributes=[_attribute(name, words) for name, words in block.get("attributes", {}).items()],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                block=_block(inner),
                nesting=MODES[inner.get("nesting", "list")],
                min_items=inner.get("min", 0),
                max_items=inner.get("max", 0),
            )
            for name, inner in block.get("blocks", {}).items()
        ],
    )


def _attribute(name: str, words: str) -> pb.Schema.Attribute:
    type_, *flags = words.split()
    if not flags or set(flags) - set(FLAGS):
        raise ValueError(f"{name}: {words!r} is no type with flags out of {', '.join(FLAGS)}")
    return pb.Schema.Attribute(name=name, type=json.dumps(read_type(type_)).encode(), **dict.fromkeys(flags, True))
