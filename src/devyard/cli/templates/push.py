"""`devyard templates push`: a directory becomes a template's next version, imported, and active."""

from pathlib import Path
from typing import TextIO

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_import
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.templates.archive import pack_directory
from devyard.cli.workspaces.parameters import parse_pairs, read_parameter_file
from devyard.sdk import templates
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.templates import (
    CreateTemplateRequest,
    CreateTemplateVersionRequest,
    Template,
    TemplateVersion,
    VariableValue,
)


@click.command("push")
@click.argument("name", default="")
@click.option("-d", "--directory", type=click.Path(path_type=Path), default=".", help="The template's directory.")
@organization_option
@click.option("--activate", type=bool, default=True, help="Make the version the active one (default).")
@click.option("--name", "version_name", default="", help="Name of the version (default: made up).")
@click.option("-m", "--message", default="", help="What changed.")
@click.option("--var", "--variable", "variables_", multiple=True, metavar="NAME=VALUE", help="Terraform variable.")
@click.option("--variables-file", type=click.Path(path_type=Path), help="YAML file of such variables.")
@click.option("--provisioner-tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only provisioners with it.")
@click.option("--ignore-lockfile", is_flag=True, hidden=True)
@click.option("--always-prompt", is_flag=True, hidden=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def push(
    settings: Settings,
    name: str,
    directory: Path,
    org: str,
    activate: bool,
    version_name: str,
    message: str,
    variables_: tuple[str, ...],
    variables_file: Path | None,
    tags: tuple[str, ...],
    ignore_lockfile: bool,
    always_prompt: bool,
    yes: bool,
) -> None:
    """Upload a directory as a template's next version (the first one makes the template)."""
    name = name or directory.resolve().name
    values = read_parameter_file(variables_file) if variables_file else {}
    values |= parse_pairs(variables_, "--variable")
    data = pack_directory(directory)
    if settings.is_terminal and not yes:
        confirm(f"Push {directory} as template {name}?", default=True)
    request = CreateTemplateVersionRequest(
        name=version_name,
        message=message,
        tags=parse_pairs(tags, "--provisioner-tag"),
        user_variable_values=[VariableValue(key, value) for key, value in values.items()],
    )
    template, version = push_archive(
        settings.client(),
        name,
        data,
        request,
        organization=org,
        activates=activate,
        is_verbose=settings.is_verbose,
    )
    state = "active" if activate or template.active_version_id == version.id else "not active yet"
    note(f"Template {name}: version {version.name} is imported and {state}.")


def push_archive(
    client: Client,
    name: str,
    data: bytes,
    request: CreateTemplateVersionRequest,
    *,
    organization: str = "",
    activates: bool = True,
    stream: TextIO | None = None,
    is_verbose: bool = False,
) -> tuple[Template, TemplateVersion]:
    """Uploads, imports with a live log, and promotes or creates. Raises CommandFailed."""
    organization_id = choose_organization(client, organization)
    template = _find_template(client, organization_id, name)
    request.file_id = templates.upload_file(client, data)
    request.template_id = template.id if template else None
    version = templates.create_version(client, organization_id, request)
    version = follow_import(client, version, stream=stream, is_verbose=is_verbose)
    if template is None:
        template = templates.create_template(client, organization_id, CreateTemplateRequest(name, version.id))
    elif activates:
        templates.promote_version(client, template.id, version.id)
    return template, version


def _find_template(client: Client, organization_id: str, name: str) -> Template | None:
    try:
        return templates.load_template(client, organization_id, name)
    except NotFound:
        return None
    except ValueError as error:
        raise CommandFailed(str(error)) from None
