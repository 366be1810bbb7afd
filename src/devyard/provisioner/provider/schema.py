"""Schemas as tables: attributes and nested blocks, and how they are told to Terraform.

The resource and data source files declare `Block`s, the service sends them. Invariant: a `Block` is immutable
and complete; planning, validation and encoding read nothing else. docs/design/provider.md explains the rules.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb

Type = str | tuple[Any, ...]
"""A type constraint as Terraform writes it in JSON: `"string"`, `("list", "string")`, `("object", {…})`."""

Values = dict[str, Any]
"""A decoded object: attribute or block name → value; None for null, `UNKNOWN` for not known yet."""

Check = Callable[[Any], str | None]
"""Why a known value is refused, as a sentence, or None."""

STRINGS: Type = ("list", "string")
STRING_MAP: Type = ("map", "string")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One attribute.

    With a `default` Terraform sees it as optional and computed, and plans show the default.
    """

    type: Type
    doc: str
    mode: Literal["required", "optional", "computed"]
    default: Any = None
    derive: Callable[[Mapping[str, Any]], Any] | None = None
    """For computed ones that follow from their siblings, and are therefore known in the plan."""
    checks: tuple[Check, ...] = ()
    is_sensitive: bool = False
    is_deprecated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A configuration block: its attributes and the blocks inside it."""

    attributes: Mapping[str, Attribute]
    blocks: Mapping[str, "Nested"] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nested:
    """A kind of nested block: a list or set of `block`, `max_items=0` for no limit."""

    block: Block
    nesting: Literal["list", "set"]
    min_items: int = 0
    max_items: int = 0
    is_deprecated: bool = False


def required(type_: Type, doc: str, *checks: Check, is_sensitive: bool = False) -> Attribute:
    """An attribute that the template has to set."""
    return Attribute(type=type_, doc=doc, mode="required", checks=checks, is_sensitive=is_sensitive)


def optional(
    type_: Type,
    doc: str,
    *checks: Check,
    default: Any = None,
    is_sensitive: bool = False,
    is_deprecated: bool = False,
) -> Attribute:
    """An attribute that the template may set; without `default` it stays null."""
    return Attribute(
        type=type_,
        doc=doc,
        mode="optional",
        checks=checks,
        default=default,
        is_sensitive=is_sensitive,
        is_deprecated=is_deprecated,
    )


def computed(
    type_: Type,
    doc: str,
    *,
    is_sensitive: bool = False,
    derive: Callable[[Mapping[str, Any]], Any] | None = None,
) -> Attribute:
    """An attribute that only the provider sets; with `derive` it follows from its siblings."""
    return Attribute(type=type_, doc=doc, mode="computed", is_sensitive=is_sensitive, derive=derive)


def schema_message(block: Block) -> pb.Schema:
    """The schema as the protocol's message, version 0."""
    return pb.Schema(version=0, block=_block_message(block))


def _block_message(block: Block) -> pb.Schema.Block:
    return pb.Schema.Block(
        attributes=[_attribute_message(name, each) for name, each in block.attributes.items()],
        block_types=[_nested_message(name, nested) for name, nested in block.blocks.items()],
        description=block.doc,
        description_kind=pb.MARKDOWN,
    )


def _attribute_message(name: str, attribute: Attribute) -> pb.Schema.Attribute:
    return pb.Schema.Attribute(
        name=name,
        type=json.dumps(attribute.type).encode(),
        description=attribute.doc,
        description_kind=pb.MARKDOWN,
        required=attribute.mode == "required",
        optional=attribute.mode == "optional",
        computed=attribute.mode == "computed" or attribute.default is not None,
        sensitive=attribute.is_sensitive,
        deprecated=attribute.is_deprecated,
    )


def _nested_message(name: str, nested: Nested) -> pb.Schema.NestedBlock:
    modes = pb.Schema.NestedBlock
    block = _block_message(nested.block)
    block.deprecated = nested.is_deprecated
    return pb.Schema.NestedBlock(
        type_name=name,
        block=block,
        nesting=modes.LIST if nested.nesting == "list" else modes.SET,
        min_items=nested.min_items,
        max_items=nested.max_items,
    )
