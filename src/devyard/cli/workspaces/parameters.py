"""Parameter values for a build: from options, a file, a preset, the last build, the template, or the user.

Called by create, start, restart and update. The rules are those of the server (wire/parameters), so that a
wrong value is refused before anything is built. Invariant: what is returned passed them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.settings import variables
from devyard.wire.parameters import (
    ParameterDefinition,
    ParameterOption,
    check_parameter_change,
    check_parameter_value,
)
from devyard.wire.templates import ParameterValue, TemplateParameter

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Given:
    """What the command line says about parameters."""

    values: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    ephemeral: Mapping[str, str] = field(default_factory=dict)
    asks_ephemeral: bool = False
    asks_always: bool = False


def parameter_options(function: Any) -> Any:
    """Options of `create`: values, a file of values, defaults."""
    for option in (
        click.option(
            "--parameter-default",
            "parameter_defaults",
            multiple=True,
            metavar="NAME=VALUE",
            help="Default in place of the template's; repeatable.",
        ),
        click.option(
            "--rich-parameter-file",
            type=click.Path(path_type=Path),
            envvar=variables("RICH_PARAMETER_FILE"),
            help="YAML file of NAME: VALUE.",
        ),
        click.option(
            "--parameter",
            "parameters",
            multiple=True,
            metavar="NAME=VALUE",
            envvar=variables("RICH_PARAMETER"),
            help="Value of a parameter; repeatable.",
        ),
    ):
        function = option(function)
    return function


def build_parameter_options(function: Any) -> Any:
    """The same with what only later builds know: ephemeral parameters, and asking for everything again."""
    for option in (
        click.option("--build-options", "--prompt-ephemeral-parameters", "asks_ephemeral", is_flag=True),
        click.option("--build-option", "--ephemeral-parameter", "ephemeral", multiple=True, metavar="NAME=VALUE"),
        click.option("--always-prompt", is_flag=True, help="Ask for every parameter."),
    ):
        function = option(function)
    return parameter_options(function)


def read_given(
    parameters: Sequence[str],
    parameter_defaults: Sequence[str],
    rich_parameter_file: Path | None,
    ephemeral: Sequence[str] = (),
    asks_ephemeral: bool = False,
    asks_always: bool = False,
) -> Given:
    """The options, parsed; options win over the file. Raises CommandFailed."""
    from_file = read_parameter_file(rich_parameter_file) if rich_parameter_file else {}
    values = {**from_file, **parse_pairs(parameters, "--parameter")}
    return Given(
        values,
        parse_pairs(parameter_defaults, "--parameter-default"),
        parse_pairs(ephemeral, "--ephemeral-parameter"),
        asks_ephemeral,
        asks_always,
    )


def parse_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping. Raises CommandFailed."""
    parsed = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandFailed(f"{option} {pair!r} has no value; write {option} NAME=VALUE.")
        parsed[name] = value
    return parsed


def read_parameter_file(path: Path) -> dict[str, str]:
    """A YAML mapping of names to values; lists become JSON. Raises CommandFailed."""
    import yaml

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CommandFailed(f"{path} is larger than 1 MiB.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"{path} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} is no YAML: {error}") from None
    if not isinstance(content, dict):
        raise CommandFailed(f"{path} has to be a mapping of parameter names to values.")
    return {str(name): _text_of(value) for name, value in content.items()}


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
    chosen = []
    for parameter in asked:
        value = _decide(parameter, given, previous, is_terminal)
        if value is not None:
            chosen.append(ParameterValue(parameter.name, value))
    return chosen


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


def _decide(
    parameter: TemplateParameter, given: Given, previous: Mapping[str, str] | None, is_terminal: bool
) -> str | None:
    name = parameter.name
    before = (previous or {}).get(name)
    explicit = given.ephemeral.get(name, given.values.get(name))
    if explicit is not None:
        if problem := find_problem(parameter, explicit, before):
            raise CommandFailed(problem)
        return explicit
    if parameter.ephemeral:
        return _ask(parameter, parameter.default_value, None) if given.asks_ephemeral and is_terminal else None
    default = given.defaults.get(name, parameter.default_value)
    if before is not None:
        if given.asks_always and is_terminal and parameter.mutable:
            return _ask(parameter, before, before)
        if find_problem(parameter, before, before) is None:
            return before
        if not is_terminal:
            raise CommandFailed(str(find_problem(parameter, before, before)))
        return _ask(parameter, default, before)
    if is_terminal:
        return _ask(parameter, default if not parameter.required or name in given.defaults else "", None)
    if parameter.required and name not in given.defaults:
        raise CommandFailed(f'Parameter "{name}" needs a value: add --parameter {name}=VALUE.')
    if problem := find_problem(parameter, default, None):
        raise CommandFailed(problem)
    return default


def find_problem(parameter: TemplateParameter, value: str, previous: str | None) -> str | None:
    """Why a value is refused, or None."""
    definition = to_definition(parameter)
    return check_parameter_change(definition, value, previous) or check_parameter_value(
        definition, value, previous
    )


def _ask(parameter: TemplateParameter, default: str, previous: str | None) -> str:
    title = parameter.display_name if isinstance(parameter.display_name, str) else ""
    note(f"\n{title or parameter.name}")
    if parameter.description_plaintext:
        note(f"  {parameter.description_plaintext}")
    for number, option in enumerate(parameter.options, 1):
        note(f"  {number}) {option.name}" + (f"  {option.description}" if option.description else ""))
    while True:
        answer = click.prompt(parameter.name, default=default, show_default=bool(default), err=True)
        value = _option_value(parameter, str(answer).strip())
        problem = find_problem(parameter, value, previous)
        if problem is None:
            return value
        note(problem)


def _option_value(parameter: TemplateParameter, answer: str) -> str:
    """What an answer means where there are options: a value, a name, or the number before it."""
    by_value = {option.value for option in parameter.options}
    if answer in by_value:
        return answer
    for number, option in enumerate(parameter.options, 1):
        if answer in (option.name, str(number)):
            return option.value
    return answer


def _check_names(asked: Sequence[TemplateParameter], given: Mapping[str, str]) -> None:
    names = [parameter.name for parameter in asked]
    for name in given:
        if name not in names:
            there = f"It has: {', '.join(names)}." if names else "It has none."
            raise CommandFailed(f'This template has no parameter "{name}". {there}')


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value).decode()
    return "" if value is None else str(value)
