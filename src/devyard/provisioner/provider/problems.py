"""What is wrong with a template or a build, and where: the provider's diagnostics before they are messages.

Made by checks, reads and creates; the service turns them into the protocol's diagnostics.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from devyard.provisioner.provider.protocol import tfplugin5_pb2 as pb
from devyard.provisioner.provider.schema import Attribute, Block, Values
from devyard.provisioner.provider.values import UNKNOWN

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence for the author or user, with the attribute it is about (empty: the whole block)."""

    message: str
    path: Path = ()
    severity: Literal["error", "warning"] = "error"


def diagnostics(summary: str, problems: Iterable[Problem]) -> list[pb.Diagnostic]:
    """The problems as the protocol's messages, under one headline."""
    return [_diagnostic(summary, problem) for problem in problems]


def check_attributes(block: Block, values: Values, at: Path = ()) -> Iterator[Problem]:
    """Runs the single-attribute checks on every known, set value of a block and the blocks inside it."""
    for name, attribute in block.attributes.items():
        yield from _check_attribute(attribute, values.get(name), (*at, name))
    for name, nested in block.blocks.items():
        inner = values.get(name)
        if isinstance(inner, list):
            is_list = nested.nesting == "list"
            for index, each in enumerate(inner):
                if each is UNKNOWN:
                    continue
                # Set elements have no address that Terraform could show; the block's own name has to do.
                step: Path = (*at, name, index) if is_list else (*at, name)
                yield from (
                    check_attributes(nested.block, each, step)
                    if is_list
                    else _at(check_attributes(nested.block, each), step)
                )


def _check_attribute(attribute: Attribute, value: Any, path: Path) -> Iterator[Problem]:
    if value is None or value is UNKNOWN:
        return
    for check in attribute.checks:
        if message := check(value):
            yield Problem(f"{path[-1]}: {message}", path)


def _at(problems: Iterable[Problem], path: Path) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(f"{path[-1]}: {problem.message}", path, problem.severity)


def _diagnostic(summary: str, problem: Problem) -> pb.Diagnostic:
    severities = pb.Diagnostic.Severity
    message = pb.Diagnostic(
        severity=severities.ERROR if problem.severity == "error" else severities.WARNING,
        summary=summary,
        detail=problem.message,
    )
    for step in problem.path:
        added = message.attribute.steps.add()
        if isinstance(step, int):
            added.element_key_int = step
        else:
            added.attribute_name = step
    return message
