"""What a template declares and does not use, or uses and does not declare, beyond what Terraform itself reports.

Pure but for `Configuration.read`; called by checking.py. Invariant: only the root module's own text is judged, and
what this reader can't make out counts as used.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.results.graph import Graph, find_agent_resources, is_agent, type_of
from devyard.provisioner.templates.hcl import Block, HclError, read_blocks
from devyard.provisioner.templates.variables import read_configuration
from devyard.wire.parameters import check_parameter_value

_OWN = ("coder", "devyard")
_TFVARS = re.compile(r"(?:^terraform|\.auto)\.tfvars(?:\.json)?$")
_STARTS_AGENTS = ("external_agent", "agent_instance")


class Configuration(msgspec.Struct, frozen=True):
    """A root module as text. `values`: name → file, of the `.tfvars` files that Terraform reads by itself."""

    blocks: list[Block]
    documents: list[dict[str, Any]]
    values: Mapping[str, str]

    @classmethod
    def read(cls, directory: Path) -> "Configuration":
        """The configuration in a directory."""
        blocks, documents = read_configuration(directory)
        values: dict[str, str] = {}
        for path in sorted(directory.iterdir()):
            if _TFVARS.search(path.name) and path.is_file():
                values |= dict.fromkeys(_read_names(path), path.name)
        return cls(blocks, documents, values)

    @property
    def is_empty(self) -> bool:
        """There is nothing for Terraform."""
        return not self.blocks and not self.documents


def find_problems(
    configuration: Configuration, capture: Capture, graph: Graph, given: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Errors and warnings. `capture`: of a plan for a start; `given`: parameter values by name."""
    names = {found.definition.name for found in capture.parameters} | _list_parameter_names(configuration)
    errors = [
        *(f'There is no parameter "{name}", for which a value was given.' for name in given if name not in names),
        *_check_presets(capture, names),
    ]
    warnings = [
        *_find_unused(configuration),
        *_find_idle_agents(graph),
        *(
            f'{file}: "{name}" is no variable of this template; the value has no effect.'
            for name, file in configuration.values.items()
            if name not in _list_declared(configuration, "variable")
        ),
    ]
    return errors, warnings


def _check_presets(capture: Capture, names: set[str]) -> Iterator[str]:
    definitions = {found.definition.name: found.definition for found in capture.parameters}
    for preset in capture.presets:
        for name, value in preset.parameters.items():
            if name not in names:
                yield f'Preset "{preset.name}" gives a value to "{name}", which is no parameter of this template.'
            elif name in definitions and (message := check_parameter_value(definitions[name], value)):
                yield f'Preset "{preset.name}": {message}'


def _find_unused(configuration: Configuration) -> Iterator[str]:
    texts = [(block, "\n".join(_texts(block))) for block in configuration.blocks]
    rest = json.dumps(configuration.documents)
    for block in configuration.blocks:
        reference = _reference(block)
        if reference is None:
            continue
        pattern = re.compile(rf"(?<![\w.-]){re.escape(reference)}(?![\w-])")
        if pattern.search(rest) or any(pattern.search(text) for other, text in texts if other is not block):
            continue
        if block.type == "variable":
            yield f'variable "{block.labels[0]}" is never used.'
        else:
            yield f"{reference}: users are asked for it, and nothing uses its value."


def _reference(block: Block) -> str | None:
    """How others refer to a block that is there to be used; None for other blocks."""
    if block.type == "variable" and block.labels:
        return f"var.{block.labels[0]}"
    if block.type == "data" and len(block.labels) == 2 and _own_name(block.labels[0]) == "parameter":
        return f"data.{block.labels[0]}.{block.labels[1]}"
    return None


def _find_idle_agents(graph: Graph) -> Iterator[str]:
    started = set(find_agent_resources(graph))
    for label, needs in graph.items():
        if _own_name(type_of(label)) in _STARTS_AGENTS:
            started |= needs
    for label in sorted(graph):
        if is_agent(label) and label not in started:
            yield (
                f"{label}: no resource refers to it, so nothing will start it; use its init_script and token in"
                " the resource that is the workspace."
            )


def _list_parameter_names(configuration: Configuration) -> set[str]:
    """Of the parameters in the root module, also those that are not asked for now (`count = 0`)."""
    names = set()
    for block in configuration.blocks:
        if block.type == "data" and block.labels and _own_name(block.labels[0]) == "parameter":
            try:
                names.add(str(block.attributes["name"].literal()))
            except (KeyError, HclError, ValueError):
                continue
    return names


def _list_declared(configuration: Configuration, type_: str) -> set[str]:
    found = {block.labels[0] for block in configuration.blocks if block.type == type_ and block.labels}
    for document in configuration.documents:
        section = document.get(type_)
        found |= set(section) if isinstance(section, dict) else set()
    return found


def _texts(block: Block) -> Iterable[str]:
    for expression in block.attributes.values():
        yield expression.text
    for inner in block.blocks:
        yield from _texts(inner)


def _own_name(type_: str) -> str:
    prefix, _, name = type_.partition("_")
    return name if prefix in _OWN else ""


def _read_names(path: Path) -> list[str]:
    """Names that a `.tfvars` file sets; none where it can't be read, which Terraform reports."""
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            document = json.loads(text)
            return list(document) if isinstance(document, dict) else []
        return list(read_blocks(f"values {{\n{text}\n}}")[0].attributes)
    except (ValueError, OSError, RecursionError):
        return []
