"""`devyard templates check`: what an import would say about a template, without a server."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from devyard.cli.failures import EXIT_FAILURE, CommandFailed
from devyard.cli.output import print_json, render_table, to_json
from devyard.cli.workspaces.parameters import parse_pairs, read_parameter_file
from devyard.runtime.imports import quick_imports
from devyard.wire.parameters import ParameterDefinition

if TYPE_CHECKING:
    from devyard.provisioner.plugin.checking import Report


@click.command("check")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@click.option("--var", "--variable", "variables_", multiple=True, metavar="NAME=VALUE", help="Terraform variable.")
@click.option("--variables-file", type=click.Path(path_type=Path), help="YAML file of such variables.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A user's choice.")
@click.option(
    "--terraform", default="auto", show_default=True, help="auto, library, binary, or the path of an executable."
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
def check(
    directory: Path,
    variables_: tuple[str, ...],
    variables_file: Path | None,
    parameters: tuple[str, ...],
    terraform: str,
    output: str,
) -> None:
    """Check a template here, without a server: init, validate, plans for a start and for a stop.

    Shows what users will be asked and what will be made, and names what is unused or undeclared. Ends with 1 when
    the template would not work.
    """
    import asyncio

    with quick_imports():
        from devyard.provisioner.engine.backend import NoTerraform
        from devyard.provisioner.plugin.checking import Request, check_template, read_variables
        from devyard.runtime.logs import set_up_logs

    set_up_logs("human", "error", process="check")
    values = read_parameter_file(variables_file) if variables_file else {}
    values |= parse_pairs(variables_, "--var")
    request = Request(
        directory=directory.resolve(),
        terraform=terraform,
        variables=read_variables(values.items()),
        parameters=parse_pairs(parameters, "--parameter"),
    )
    try:
        report = asyncio.run(check_template(request))
    except NoTerraform as error:
        raise CommandFailed(str(error)) from None
    if output == "json":
        print_json(to_json(report))
    else:
        click.echo(render_report(report), nl=False)
    if report.errors:
        raise CommandFailed("", EXIT_FAILURE)


def render_report(report: "Report") -> str:
    """The report for people."""
    parts = [f"Terraform {report.terraform}\n"]
    rows = [
        [v.name, v.type or "any", _default(v.required, v.default_value), v.description] for v in report.variables
    ]
    parts += _section("Variables", ("name", "type", "default", "description"), rows)
    titles = ("name", "type", "form", "default", "options", "rules")
    parts += _section("Parameters", titles, [_parameter_row(p.definition) for p in report.parameters])
    presets = [
        [preset.name + (" (default)" if preset.is_default else ""), _pairs(preset.parameters.items())]
        for preset in report.presets
    ]
    parts += _section("Presets", ("name", "parameters"), presets)
    parts += _section("Resources", ("address", "on", "agent", "apps"), list(_resource_rows(report)))
    parts += [f"\nwarning: {text}\n" for text in report.warnings]
    parts += [f"\nerror: {text}\n" for text in report.errors]
    counts = f"{len(report.errors)} error(s), {len(report.warnings)} warning(s)"
    parts.append(
        f"\n{counts}. {'It would not work as it is.' if report.errors else 'It is ready to be pushed.'}\n"
    )
    return "".join(parts)


def _section(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"\n{title}\n", render_table(titles, rows)] if rows else []


def _parameter_row(definition: ParameterDefinition) -> list[str]:
    options = ", ".join(
        option.name if option.name == option.value else f"{option.name} ({option.value})"
        for option in definition.options
    )
    name = f"{definition.display_name} ({definition.name})" if definition.display_name else definition.name
    default = _default(definition.required, definition.default_value)
    return [name, definition.type, definition.form_type, default, options or "-", _rules(definition)]


def _rules(definition: ParameterDefinition) -> str:
    rules = [
        f"{word} {value}"
        for word, value in (
            ("min", definition.validation_min),
            ("max", definition.validation_max),
            ("only", definition.validation_monotonic or None),
            ("matches", definition.validation_regex or None),
        )
        if value is not None
    ]
    rules.append("for one build" if definition.ephemeral else "mutable" if definition.mutable else "set once")
    return ", ".join(rules)


def _default(is_required: bool, value: str) -> str:
    return "(required)" if is_required else value or '""'


def _resource_rows(report: "Report") -> Iterable[list[str]]:
    starting = {resource.address: resource for resource in report.start_resources}
    stopping = {resource.address: resource for resource in report.stop_resources}
    for address, resource in (starting | stopping | starting).items():
        phases = [word for word, found in (("start", starting), ("stop", stopping)) if address in found]
        agents = ", ".join(f"{agent.name} ({agent.os}/{agent.arch})" for agent in resource.agents)
        apps = ", ".join(app.slug for agent in resource.agents for app in agent.apps)
        yield [address, " and ".join(phases), agents or "-", apps or "-"]


def _pairs(items: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in items)
