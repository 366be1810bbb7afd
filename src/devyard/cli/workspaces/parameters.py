"""What the command line says about parameters: the options, a file of values, and both read together.

Called by create, start, restart, update and by the commands that take NAME=VALUE words. What is done with them
is in values.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.settings import variables

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
            help="YAML or JSON file of NAME: VALUE.",
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
        click.option(
            "--prompt-ephemeral-parameters",
            "--build-options",
            "asks_ephemeral",
            is_flag=True,
            envvar=variables("PROMPT_EPHEMERAL_PARAMETERS"),
            help="Ask for the parameters that count for one build only.",
        ),
        click.option(
            "--ephemeral-parameter",
            "--build-option",
            "ephemeral",
            multiple=True,
            metavar="NAME=VALUE",
            envvar=variables("EPHEMERAL_PARAMETER"),
            help="Value for this build only; repeatable.",
        ),
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
        raise CommandFailed(f"{path} has to be a mapping of names to values, as `region: eu`.")
    return {str(name): _text_of(value) for name, value in content.items()}


def _text_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value).decode()
    return "" if value is None else str(value)
