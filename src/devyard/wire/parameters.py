"""The rules of template parameters: what a definition may say and which values it takes.

Pure functions over `ParameterDefinition`, called by the provider while Terraform reads `coder_parameter` and
by the server for what users send, so that both always answer alike. Values are text, as users and Terraform
exchange them: numbers in decimal, `true`/`false`, lists as JSON arrays of strings.
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from devyard.wire.patterns import Pattern, PatternError

PARAMETER_TYPES = ("string", "number", "bool", "list(string)")

FORM_TYPES: dict[tuple[str, bool], tuple[str, ...]] = {
    ("string", True): ("radio", "dropdown"),
    ("string", False): ("input", "textarea"),
    ("number", True): ("radio", "dropdown"),
    ("number", False): ("input", "slider"),
    ("bool", True): ("radio", "dropdown"),
    ("bool", False): ("checkbox", "switch"),
    ("list(string)", True): ("radio", "multi-select"),
    ("list(string)", False): ("tag-select",),
}
"""(type, has options) → form types that can show it; the first one is the default."""

ERROR_FORM_TYPE = "error"
"""Shows a message in place of a field; goes with every type, and any value passes."""

MONOTONIC = ("increasing", "decreasing")

MAX_NAME_LENGTH = 256
_SHOWN_LENGTH = 60


class ParameterOption(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One choice of a parameter; `value` is what the template receives."""

    name: str
    value: str
    description: str = ""
    icon: str = ""


class ParameterDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A parameter as its template declares it. `required`: it has no default; `styling`: a JSON object."""

    name: str
    display_name: str = ""
    description: str = ""
    type: str = "string"
    form_type: str = ""
    mutable: bool = False
    ephemeral: bool = False
    required: bool = False
    default_value: str = ""
    icon: str = ""
    options: tuple[ParameterOption, ...] = ()
    validation_min: int | None = None
    validation_max: int | None = None
    validation_monotonic: str = ""
    validation_regex: str = ""
    validation_error: str = ""
    order: int = 0
    styling: str = "{}"


class DefinitionProblem(NamedTuple):
    """What is wrong with a definition, and at which attribute: `("option", 0, "value")`."""

    path: tuple[str | int, ...]
    message: str


def decide_form_type(type_: str, form_type: str, *, has_options: bool) -> str:
    """The form type in effect: the one given, or the default for this type with or without options."""
    return form_type or FORM_TYPES.get((type_, has_options), ("input",))[0]


def check_definition(definition: ParameterDefinition) -> list[str]:
    """Every problem of a definition as a sentence; empty when it is sound."""
    return [problem.message for problem in find_definition_problems(definition)]


def find_definition_problems(definition: ParameterDefinition) -> list[DefinitionProblem]:
    """Every problem of a definition with the attribute it is about; empty when it is sound."""
    problems = list(_find_basic_problems(definition))
    if problems:
        return problems
    problems += _find_validation_problems(definition)
    problems += _find_option_problems(definition)
    if not problems and not definition.required and (message := _check_default(definition)):
        problems.append(DefinitionProblem(("default",), message))
    return problems


def check_parameter_value(
    definition: ParameterDefinition, value: str | None, previous: str | None = None
) -> str | None:
    """Why `value` is refused, or None.

    `value=None` means not given; `previous` is the last build's value, if there was one. Expects a sound
    definition (`check_definition`). Immutability is a question of its own: `check_parameter_change`.
    """
    if value is None:
        return _missing_message(definition) if definition.required else None
    if definition.form_type == ERROR_FORM_TYPE:
        return None  # there is no field, so that the value is nobody's choice
    if message := _check_type_and_options(definition, value):
        return message
    return _check_limits(definition, value, previous)


def check_parameter_change(definition: ParameterDefinition, value: str, previous: str | None) -> str | None:
    """Why `value` may not follow `previous`, or None: immutable parameters keep their first value."""
    if previous is None or definition.mutable or value == previous:
        return None
    kept = _shown(definition, previous)
    return f'Parameter "{definition.name}" can only be set when a workspace is created; it keeps {kept}.'


def list_values(value: str) -> tuple[str, ...] | None:
    """The strings of a `list(string)` value, or None where the text is no JSON array of strings."""
    try:
        return msgspec.json.decode(value, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def number_value(value: str) -> Decimal | None:
    """The number in a `number` value, or None where the text is no decimal number."""
    return Decimal(value) if len(value) <= 64 and re.fullmatch(_NUMBER, value) else None


_NUMBER = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"


def _find_basic_problems(definition: ParameterDefinition) -> Iterator[DefinitionProblem]:
    has_options = bool(definition.options)
    if not definition.name.strip():
        yield DefinitionProblem(("name",), "The name of a parameter can't be empty.")
    elif len(definition.name) > MAX_NAME_LENGTH:
        yield DefinitionProblem(("name",), f"A parameter's name has at most {MAX_NAME_LENGTH} characters.")
    if definition.type not in PARAMETER_TYPES:
        yield DefinitionProblem(
            ("type",), f'"{definition.type}" is no parameter type; use {_either(PARAMETER_TYPES)}.'
        )
        return
    allowed = FORM_TYPES[definition.type, has_options]
    if definition.form_type not in ("", ERROR_FORM_TYPE, *allowed):
        kind = f'a parameter of type "{definition.type}" {"with" if has_options else "without"} options'
        yield DefinitionProblem(
            ("form_type",), f'form_type "{definition.form_type}" can\'t show {kind}; use {_either(allowed)}.'
        )
    if definition.ephemeral and not definition.mutable:
        yield DefinitionProblem(("ephemeral",), "An ephemeral parameter has to be mutable; set mutable = true.")
    if definition.ephemeral and definition.required:
        yield DefinitionProblem(
            ("ephemeral",), "An ephemeral parameter needs a default, which it returns to after each build."
        )
    if not _is_json_object(definition.styling):
        yield DefinitionProblem(("styling",), "styling has to be a JSON object: use jsonencode({ … }).")


def _find_validation_problems(definition: ParameterDefinition) -> Iterator[DefinitionProblem]:
    type_, low, high = definition.type, definition.validation_min, definition.validation_max
    numeric = {
        "min": low is not None,
        "max": high is not None,
        "monotonic": bool(definition.validation_monotonic),
    }
    where = ("validation", 0)
    if definition.validation_regex and any(numeric.values()):
        yield DefinitionProblem((*where, "regex"), "regex can't be used together with min, max or monotonic.")
        return
    if type_ != "number":
        for name in (name for name, is_set in numeric.items() if is_set):
            yield DefinitionProblem((*where, name), f'{name} limits numbers; this parameter is of type "{type_}".')
    if definition.validation_monotonic not in ("", *MONOTONIC):
        yield DefinitionProblem(
            (*where, "monotonic"),
            f'monotonic is {_either(MONOTONIC)}, not "{definition.validation_monotonic}".',
        )
    if low is not None and high is not None and low > high:
        yield DefinitionProblem((*where, "min"), f"min ({low}) is greater than max ({high}): no value can pass.")
    yield from _find_regex_problems(definition)


def _find_regex_problems(definition: ParameterDefinition) -> Iterator[DefinitionProblem]:
    where = ("validation", 0, "regex")
    if not definition.validation_regex:
        return
    if definition.type != "string":
        yield DefinitionProblem(where, f'regex checks text; this parameter is of type "{definition.type}".')
    if not definition.validation_error:
        yield DefinitionProblem(
            where,
            "A regex needs an error beside it: the sentence that users read when their value does not match.",
        )
    try:
        Pattern(definition.validation_regex)
    except PatternError as error:
        yield DefinitionProblem(where, f"The regex can't be read: {error}.")


def _find_option_problems(definition: ParameterDefinition) -> Iterator[DefinitionProblem]:
    form_type = decide_form_type(definition.type, definition.form_type, has_options=bool(definition.options))
    value_type = "string" if form_type == "multi-select" else definition.type
    names: set[str] = set()
    values: set[str] = set()
    for index, option in enumerate(definition.options):
        if option.name in names:
            yield DefinitionProblem(
                ("option", index, "name"), f'Two options are named "{option.name}"; names have to differ.'
            )
        if option.value in values:
            yield DefinitionProblem(
                ("option", index, "value"),
                f'Two options have the value "{option.value}"; values have to differ.',
            )
        if message := _check_type(value_type, option.value):
            yield DefinitionProblem(
                ("option", index, "value"), f'The value "{option.value}" of option "{option.name}" {message}'
            )
        names.add(option.name)
        values.add(option.value)


def _check_default(definition: ParameterDefinition) -> str | None:
    if definition.form_type == ERROR_FORM_TYPE:
        return None
    value = definition.default_value
    if message := _check_type_and_options(definition, value) or _check_limits(definition, value, None):
        return f"The default does not pass: {message}"
    return None


def _missing_message(definition: ParameterDefinition) -> str:
    return f'Parameter "{definition.name}" needs a value: it has no default.'


def _check_type_and_options(definition: ParameterDefinition, value: str) -> str | None:
    subject = f'Parameter "{definition.name}"'
    if message := _check_type(definition.type, value):
        return f"{subject}: {_shown(definition, value)} {message}"
    if not definition.options:
        return None
    choices = [option.value for option in definition.options]
    form_type = decide_form_type(definition.type, definition.form_type, has_options=True)
    chosen = list_values(value) or () if form_type == "multi-select" else (value,)
    for item in chosen:
        if item not in choices and not (definition.type == "list(string)" and _is_same_list(item, choices)):
            return (
                f"{subject}: Value must be a valid option; {_shown(definition, item)} is none of "
                f"{_either(choices)}."
            )
    return None


def _is_same_list(value: str, choices: Sequence[str]) -> bool:
    items = list_values(value)
    return items is not None and any(items == list_values(choice) for choice in choices)


def _check_type(type_: str, value: str) -> str | None:
    """A clause that goes on after the value (`… is not a number.`), or None."""
    if type_ == "number" and number_value(value) is None:
        return "is not a number."
    if type_ == "bool" and value not in ("true", "false"):
        return 'is neither "true" nor "false".'
    if type_ == "list(string)" and list_values(value) is None:
        return "is not a list of strings in JSON; use jsonencode([ … ])."
    return None


def _check_limits(definition: ParameterDefinition, value: str, previous: str | None) -> str | None:
    subject = f'Parameter "{definition.name}"'
    if definition.validation_regex and definition.type == "string":
        try:
            is_match = Pattern(definition.validation_regex).search(value)
        except PatternError as error:
            return f"{subject}: {error}."
        return None if is_match else f"{subject}: {_render_error(definition, value)}"
    number = number_value(value) if definition.type == "number" else None
    if number is None:
        return None
    message = _check_range(definition, number) or _check_monotonic(definition, number, previous)
    if message and definition.validation_error:
        message = _render_error(definition, value)
    return f"{subject}: {message}" if message else None


def _check_range(definition: ParameterDefinition, number: Decimal) -> str | None:
    low, high = definition.validation_min, definition.validation_max
    if low is not None and number < low:
        return f"{number} is less than the minimum {low}."
    if high is not None and number > high:
        return f"{number} is more than the maximum {high}."
    return None


def _check_monotonic(definition: ParameterDefinition, number: Decimal, previous: str | None) -> str | None:
    before = number_value(previous) if previous is not None else None
    if before is None:
        return None
    if definition.validation_monotonic == "increasing" and number < before:
        return f"{number} is less than the previous value {before}; it can only grow."
    if definition.validation_monotonic == "decreasing" and number > before:
        return f"{number} is more than the previous value {before}; it can only shrink."
    return None


def _render_error(definition: ParameterDefinition, value: str) -> str:
    """The author's own sentence with `{min}`, `{max}` and `{value}` filled in."""
    low, high = definition.validation_min, definition.validation_max
    text = definition.validation_error.replace("{min}", "" if low is None else str(low))
    text = text.replace("{max}", "" if high is None else str(high))
    return text.replace("{value}", "…" if _is_masked(definition) else value)


def _shown(definition: ParameterDefinition, value: str) -> str:
    """The value for a message: quoted, short, and not at all where the form masks it."""
    if _is_masked(definition):
        return "the value"
    return f'"{value}"' if len(value) <= _SHOWN_LENGTH else f'"{value[:_SHOWN_LENGTH]}…"'


def _is_masked(definition: ParameterDefinition) -> bool:
    return "mask_input" in definition.styling and json.loads(definition.styling).get("mask_input") is True


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _either(choices: Sequence[str]) -> str:
    quoted = [f'"{choice}"' for choice in choices[:12]]
    if len(choices) > 12:
        return ", ".join(quoted) + f" and {len(choices) - 12} more"
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
