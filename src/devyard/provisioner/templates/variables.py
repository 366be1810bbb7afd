"""A template's `variable` blocks: what they ask for, and the file that gives them to Terraform.

Imports list them, every run of Terraform gets their values by `-var-file` (never on a command line or in the
environment, where others could read them). Invariant: a value means what it would mean after `-var name=`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from devyard.provisioner.templates.hcl import Block, Expression, HclError, read_blocks
from devyard.wire.provisionerlink import Variable
from devyard.wire.provisionerresults import TemplateVariableResult

_PLAIN_TYPES = ("", "string", "number", "bool")
_UNSAFE = re.compile(r'[\\"\n\r\t]|[$%](?=\{)')
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "$$", "%": "%%"}


def read_configuration(directory: Path) -> tuple[list[Block], list[dict[str, Any]]]:
    """The blocks of the root module's `.tf` files, and its `.tf.json` files. Skips what can't be read."""
    blocks: list[Block] = []
    documents: list[dict[str, Any]] = []
    for path in sorted(directory.iterdir()):
        try:
            if path.name.endswith((".tf", ".tofu")):
                blocks += read_blocks(path.read_text("utf-8"))
            elif path.name.endswith((".tf.json", ".tofu.json")):
                document = json.loads(path.read_bytes())
                documents += [document] if isinstance(document, dict) else []
        except (ValueError, OSError, RecursionError):
            continue  # Terraform reports it, with the line
    return blocks, documents


def list_variables(
    blocks: Iterable[Block], documents: Iterable[Mapping[str, Any]]
) -> tuple[TemplateVariableResult, ...]:
    """The variables in order of their appearance; a later file's definition counts (override files)."""
    found: dict[str, TemplateVariableResult] = {}
    for block in blocks:
        if block.type == "variable" and block.labels:
            found[block.labels[0]] = _from_block(block.labels[0], block.attributes)
    for document in documents:
        variables = document.get("variable")
        for name, body in variables.items() if isinstance(variables, dict) else ():
            values = body[0] if isinstance(body, list) and body else body
            found[name] = _from_json(name, values if isinstance(values, dict) else {})
    return tuple(found.values())


def find_missing(variables: Iterable[TemplateVariableResult], values: Iterable[Variable]) -> list[str]:
    """Names of the variables that need a value and have none."""
    given = {value.name for value in values}
    return [variable.name for variable in variables if variable.required and variable.name not in given]


def find_unknown(variables: Iterable[TemplateVariableResult], values: Iterable[Variable]) -> list[str]:
    """Names that were given a value but are no variables of this template."""
    known = {variable.name for variable in variables}
    return [value.name for value in values if value.name not in known]


def render_values(variables: Iterable[TemplateVariableResult], values: Sequence[Variable]) -> str:
    """The contents of a `.tfvars` file with those of `values` that the template declares."""
    types = {variable.name: variable.type for variable in variables}
    lines = []
    for value in values:
        if value.name in types:
            is_plain = types[value.name] in _PLAIN_TYPES
            lines.append(f"{value.name} = {_quote(value.value) if is_plain else value.value}\n")
    return "".join(lines)


def _quote(text: str) -> str:
    return '"' + _UNSAFE.sub(lambda match: _ESCAPED[match[0]], text) + '"'


def _from_block(name: str, attributes: Mapping[str, Expression]) -> TemplateVariableResult:
    is_sensitive = _literal(attributes.get("sensitive")) is True
    default = attributes.get("default")
    description = _literal(attributes.get("description"))
    return TemplateVariableResult(
        name=name,
        description=description if isinstance(description, str) else "",
        type=_one_line(attributes["type"].text) if "type" in attributes else "",
        default_value="" if is_sensitive or default is None else _show(_literal(default), default.text),
        required=default is None,
        sensitive=is_sensitive,
    )


def _from_json(name: str, body: Mapping[str, Any]) -> TemplateVariableResult:
    is_sensitive = body.get("sensitive") is True
    return TemplateVariableResult(
        name=name,
        description=str(body.get("description") or ""),
        type=str(body.get("type") or ""),
        default_value="" if is_sensitive or "default" not in body else _show(body["default"], ""),
        required="default" not in body,
        sensitive=is_sensitive,
    )


_UNREADABLE = object()


def _literal(expression: Expression | None) -> Any:
    if expression is None:
        return _UNREADABLE
    try:
        return expression.literal()
    except (HclError, ValueError):
        return _UNREADABLE


def _show(value: Any, text: str) -> str:
    """A default as text: strings as they are, null as nothing, anything else as JSON."""
    if value is _UNREADABLE:
        return _one_line(text)
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
