"""One parameter asked on a terminal, by its form type, until the answer passes its rules.

Called by values.py. Questions and hints go to stderr. An answer may be an option's number, name or value; several
are separated by commas; a JSON list is taken as it is.
"""

from collections.abc import Callable
from typing import Any

import click
import msgspec

from devyard.cli.output import note, plain
from devyard.wire.parameters import decide_form_type
from devyard.wire.templates import TemplateParameter

Check = Callable[[str], str | None]


def ask_parameter(parameter: TemplateParameter, default: str, check: Check) -> str:
    """A value that `check` accepts; `default` is what Enter means. Raises click.Abort at the end of input."""
    _introduce(parameter)
    form_type = form_type_of(parameter)
    while True:
        value = _read(parameter, form_type, default)
        problem = check(value)
        if problem is None:
            return value
        note(problem)


def form_type_of(parameter: TemplateParameter) -> str:
    """The form type in effect."""
    return decide_form_type(parameter.type, parameter.form_type, has_options=bool(parameter.options))


def title_of(parameter: TemplateParameter) -> str:
    """As people know it."""
    title = parameter.display_name if isinstance(parameter.display_name, str) else ""
    return plain(title or parameter.name)


def describe_limits(parameter: TemplateParameter) -> str:
    """What a value must be, as `a number, at least 1, at most 8`; empty where anything goes."""
    if parameter.options:
        values = ", ".join(plain(option.value) for option in parameter.options[:12])
        more = f" and {len(parameter.options) - 12} more" if len(parameter.options) > 12 else ""
        return ("any of " if form_type_of(parameter) == "multi-select" else "one of ") + values + more
    parts = {"number": ["a number"], "bool": ["true or false"], "list(string)": ["a JSON list of texts"]}.get(
        parameter.type, []
    )
    for text, bound in (("at least", parameter.validation_min), ("at most", parameter.validation_max)):
        if isinstance(bound, int):
            parts = [*parts, f"{text} {bound}"]
    if parameter.validation_monotonic in ("increasing", "decreasing"):
        parts = [*parts, f"only {parameter.validation_monotonic}"]
    return ", ".join(parts)


def read_answer(parameter: TemplateParameter, answer: str) -> str:
    """What an answer means: for options their number, name or value; for lists what is between commas."""
    answer = answer.strip()
    if parameter.type == "list(string)" or form_type_of(parameter) == "multi-select":
        if answer.startswith("["):
            return answer
        items = [item.strip() for item in answer.split(",") if item.strip()]
        if form_type_of(parameter) == "radio":  # each option is a whole list
            return _option_value(parameter, answer)
        return msgspec.json.encode([_option_value(parameter, item) for item in items]).decode()
    return _option_value(parameter, answer)


def _introduce(parameter: TemplateParameter) -> None:
    note(f"\n{title_of(parameter)}")
    if parameter.description_plaintext:
        note(f"  {plain(parameter.description_plaintext)}")
    if not parameter.mutable:
        note("  Set once: it can't be changed later.")
    for number, option in enumerate(parameter.options, 1):
        line = f"  {number}) {plain(option.name)}"
        note(line + (f"  {plain(option.description)}" if option.description else ""))
    if not parameter.options and (limits := describe_limits(parameter)):
        note(f"  {limits[0].upper()}{limits[1:]}.")


def _read(parameter: TemplateParameter, form_type: str, default: str) -> str:
    name = plain(parameter.name)
    if parameter.type == "bool" and not parameter.options:
        is_on = None if default not in ("true", "false") else default == "true"
        return "true" if click.confirm(name, default=is_on, err=True) else "false"
    if form_type == "textarea":
        return _read_text(name, default)
    if form_type in ("multi-select", "tag-select"):
        answer = _prompt(f"{name} (several with commas)", _shown_list(default))
    else:
        answer = _prompt(name, default)
    return read_answer(parameter, answer)


def _prompt(name: str, default: str) -> str:
    shown: Any = default or None
    if not shown:
        # Click asks again for ever without a default: an empty answer is one that the rules judge.
        return str(click.prompt(name, default="", show_default=False, err=True))
    return str(click.prompt(name, default=shown, err=True))


def _read_text(name: str, default: str) -> str:
    """Lines up to an empty one; an empty first line takes the default."""
    shown = f" [{plain(default)[:40]}]" if default else ""
    lines: list[str] = []
    note(f"  End with an empty line.{shown}")
    while True:
        line = str(click.prompt(name, default="", show_default=False, prompt_suffix="> ", err=True))
        if not line:
            return "\n".join(lines) if lines else default
        lines.append(line)


def _shown_list(default: str) -> str:
    try:
        items = msgspec.json.decode(default, type=list[str]) if default else []
    except msgspec.MsgspecError:
        return default
    return default if any("," in item for item in items) else ", ".join(items)


def _option_value(parameter: TemplateParameter, answer: str) -> str:
    if answer in {option.value for option in parameter.options}:
        return answer
    for number, option in enumerate(parameter.options, 1):
        if answer in (option.name, str(number)):
            return option.value
    return answer
