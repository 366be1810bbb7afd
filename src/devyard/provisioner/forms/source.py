"""A module's files as things that can be kept or left out: blocks, and each single local value.

Read by pruning.py. Invariant: leaving something out only empties its place: what stays is the author's own text,
on its own line.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from devyard.provisioner.templates.hcl import Block, Expression, read_blocks
from devyard.provisioner.templates.needs import list_own_requirements
from devyard.provisioner.templates.references import Reference, list_references

Key = tuple[str, ...]
"""("var", name), ("local", name), ("output", name), ("provider", name), ("module", name), ("data", type, name),
("resource", type, name)."""

Span = tuple[int, int]

IGNORED_ARGUMENTS = ("depends_on", "providers")
"""Order and the handing down of providers mean nothing to values; they only lead to resources."""

_KINDS = {"variable": "var", "output": "output", "provider": "provider", "module": "module"}


class Unprunable(Exception):
    """The template's form can't be cut out; the text says why."""


class Item(NamedTuple):
    """Where a thing stands, and what it says: a block, or the expression of a local value."""

    file: str
    span: Span
    block: Block | None
    expression: Expression | None

    def arguments(self) -> dict[str, Expression]:
        """A block's own arguments; none for a local value."""
        return self.block.attributes if self.block else {}

    def references(self) -> set[Reference]:
        """All that it refers to. Raises HclError."""
        if self.block is None:
            return list_references(self.expression) if self.expression else set()
        return {reference for expression in _expressions(self.block) for reference in list_references(expression)}


class Source:
    """The `.tf` files of one module. Raises Unprunable, HclError, OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.texts: dict[str, str] = {}
        self.items: dict[Key, list[Item]] = defaultdict(list)
        self.requirements: dict[str, str] = {}
        self._frames: dict[str, list[Span]] = defaultdict(list)
        for path in sorted(directory.iterdir()):
            if path.name.endswith((".tf.json", ".tofu.json")):
                raise Unprunable(f"{path.name} is written in JSON")
            if path.name.endswith((".tf", ".tofu")) and path.is_file():
                self._read(path.name, path.read_text("utf-8"))

    def keys(self, types: Iterable[str]) -> list[Key]:
        """The data sources of these types."""
        wanted = set(types)
        return [key for key in self.items if key[0] == "data" and key[1] in wanted]

    def render(self, kept: set[Key], dropped: Iterable[tuple[str, Span]] = ()) -> dict[str, str]:
        """The files with only `kept` in them, without the arguments at `dropped`."""
        gaps: dict[str, list[Span]] = defaultdict(list)
        for name, spans in self._frames.items():
            gaps[name] += spans
        for file, span in dropped:
            gaps[file].append(span)
        for key, items in self.items.items():
            for item in items:
                if key not in kept:
                    gaps[item.file].append(item.span)
                    continue
                for name in IGNORED_ARGUMENTS:
                    if expression := item.arguments().get(name):
                        gaps[item.file].append((expression.start, expression.end))
        return {file: _empty(text, gaps[file]) for file, text in self.texts.items()}

    def _read(self, file: str, text: str) -> None:
        self.texts[file] = text
        for block in read_blocks(text):
            span = (block.start, block.end)
            if block.type == "locals":
                for name, expression in block.attributes.items():
                    place = (expression.start, expression.end)
                    self.items["local", name].append(Item(file, place, None, expression))
            elif block.type in ("data", "resource") and len(block.labels) == 2:
                self.items[block.type, *block.labels].append(Item(file, span, block, None))
            elif block.type in _KINDS and block.labels:
                self.items[_KINDS[block.type], block.labels[0]].append(Item(file, span, block, None))
            else:
                self._frames[file].append(span)
                self.requirements |= list_own_requirements(block)


def _expressions(block: Block) -> Iterator[Expression]:
    for name, expression in block.attributes.items():
        if name not in IGNORED_ARGUMENTS:
            yield expression
    for inner in block.blocks:
        yield from _expressions(inner)


def _empty(text: str, gaps: Iterable[Span]) -> str:
    """The text without what stands in the gaps, but with its line breaks, so that lines keep their numbers."""
    parts = []
    at = 0
    for start, end in sorted(gaps):
        if start < at:  # inside of another gap
            continue
        parts += [text[at:start], "\n" * text.count("\n", start, end)]
        at = end
    return "".join(parts) + text[at:]
