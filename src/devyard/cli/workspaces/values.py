"""Which value each parameter gets: given, kept from the last build, asked for, or the default.

Called by create, start, restart and update. The rules are those of the server (wire/parameters), so that a wrong
value is refused before anything is built. Invariant: what is returned passed them; what is missing or wrong is
named in one message, all of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.nearby import hint_nearest
from devyard.cli.output import note, plain
from devyard.cli.workspaces.asking import ask_parameter, describe_limits, title_of
from devyard.cli.workspaces.parameters import Given
from devyard.wire.parameters import (
    ERROR_FORM_TYPE,
    ParameterDefinition,
    ParameterOption,
    check_parameter_change,
    check_parameter_value,
)
from devyard.wire.templates import ParameterValue, TemplateParameter


class _Refused(Exception):
    """One parameter's problem."""


class _Missing(Exception):
    """A parameter needs a value and nobody is there to ask."""


def decide_values(
    asked: Sequence[TemplateParameter],
    given: Given,
    *,
    previous: Mapping[str, str] | None = None,
    is_terminal: bool,
) -> list[ParameterValue]:
    """A value for every parameter that needs one; asks where it may. Raises CommandFailed.

    `previous` are the last build's values (None for a new workspace).
    """
    _check_names(asked, {**given.values, **given.ephemeral, **given.defaults})
    chosen: list[ParameterValue] = []
    missing: list[TemplateParameter] = []
    problems: list[str] = []
    for parameter in _explicit_first(asked, given):
        try:
            value = _decide(parameter, given, previous, is_terminal and not problems)
        except _Refused as refused:
            problems.append(str(refused))
        except _Missing:
            missing.append(parameter)
        else:
            if value is not None:
                chosen.append(ParameterValue(parameter.name, value))
    if problems or missing:
        raise CommandFailed("\n".join([*problems, *_name_missing(missing)]))
    order = {parameter.name: number for number, parameter in enumerate(asked)}
    return sorted(chosen, key=lambda value: order[value.name])


def find_problem(parameter: TemplateParameter, value: str, previous: str | None) -> str | None:
    """Why a value is refused, or None."""
    definition = to_definition(parameter)
    return check_parameter_change(definition, value, previous) or check_parameter_value(
        definition, value, previous
    )


def to_definition(parameter: TemplateParameter) -> ParameterDefinition:
    """A parameter of the API as the rules know it."""

    def known(value: Any, otherwise: Any) -> Any:
        return otherwise if value is msgspec.UNSET else value

    return ParameterDefinition(
        name=parameter.name,
        type=parameter.type,
        form_type=parameter.form_type,
        mutable=parameter.mutable,
        ephemeral=parameter.ephemeral,
        required=parameter.required,
        default_value=parameter.default_value,
        options=tuple(ParameterOption(name=o.name, value=o.value) for o in parameter.options),
        validation_min=known(parameter.validation_min, None),
        validation_max=known(parameter.validation_max, None),
        validation_monotonic=known(parameter.validation_monotonic, ""),
        validation_regex=known(parameter.validation_regex, ""),
        validation_error=known(parameter.validation_error, ""),
    )


def _explicit_first(asked: Sequence[TemplateParameter], given: Given) -> list[TemplateParameter]:
    """What the command line says is judged before the first question."""
    explicit = {*given.values, *given.ephemeral}
    return sorted(asked, key=lambda parameter: parameter.name not in explicit)


def _decide(
    parameter: TemplateParameter, given: Given, previous: Mapping[str, str] | None, is_terminal: bool
) -> str | None:
    name = parameter.name
    before = (previous or {}).get(name)
    explicit = given.ephemeral.get(name, given.values.get(name))
    if explicit is not None:
        return _checked(parameter, explicit, before)
    if parameter.ephemeral:
        return _ask(parameter, parameter.default_value, None) if given.asks_ephemeral and is_terminal else None
    if before is not None:
        return _decide_again(parameter, given, before, is_terminal)
    has_default = not parameter.required or name in given.defaults
    default = given.defaults.get(name, parameter.default_value) if has_default else ""
    if is_terminal and parameter.form_type != ERROR_FORM_TYPE:
        if previous is not None:
            note(f"\nNew in this version: {title_of(parameter)}")
        return _ask(parameter, default, None)
    if not has_default:
        raise _Missing
    return _checked(parameter, default, None)


def _decide_again(parameter: TemplateParameter, given: Given, before: str, is_terminal: bool) -> str:
    """For a parameter that the last build had: its value stays while it is valid."""
    if given.asks_always and is_terminal and parameter.mutable:
        return _ask(parameter, before, before)
    problem = find_problem(parameter, before, before)
    if problem is None:
        return before
    if not parameter.mutable:
        raise _Refused(f"{problem} It is set once, so this version can't be used for this workspace.")
    if not is_terminal:
        raise _Refused(f"{problem} The last build had it; choose again with --parameter {parameter.name}=VALUE.")
    note(f"\nNo longer valid: {title_of(parameter)} = {plain(before)[:60]}")
    return _ask(parameter, given.defaults.get(parameter.name, parameter.default_value), before)


def _checked(parameter: TemplateParameter, value: str, before: str | None) -> str:
    if problem := find_problem(parameter, value, before):
        raise _Refused(problem)
    return value


def _ask(parameter: TemplateParameter, default: str, previous: str | None) -> str:
    def check(value: str) -> str | None:
        if not value and parameter.required:
            return f'Parameter "{parameter.name}" needs a value: it has no default.'
        return find_problem(parameter, value, previous)

    return ask_parameter(parameter, default, check)


def _name_missing(missing: Sequence[TemplateParameter]) -> list[str]:
    if not missing:
        return []
    if len(missing) == 1:
        name, limits = missing[0].name, describe_limits(missing[0])
        return [f'Parameter "{name}" needs a value{_in_brackets(limits)}: add --parameter {name}=VALUE.']
    lines = [f"{len(missing)} parameters need a value:"]
    lines += [f"  --parameter {p.name}=VALUE{_in_brackets(describe_limits(p))}" for p in missing]
    return [*lines, "Add these options, or --rich-parameter-file FILE with NAME: VALUE lines in YAML."]


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _check_names(asked: Sequence[TemplateParameter], given: Mapping[str, str]) -> None:
    names = [parameter.name for parameter in asked]
    for name in given:
        if name not in names:
            there = f"It has: {', '.join(names)}." if names else "It has none."
            raise CommandFailed(f'This template has no parameter "{name}". {there}{hint_nearest(name, names)}')
