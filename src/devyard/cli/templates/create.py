"""`devyard templates create`: a template from a directory, with its first settings."""

from datetime import timedelta

import click

from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.templates.editing import milliseconds
from devyard.cli.templates.uploading import (
    UploadOptions,
    find_template,
    import_archive,
    read_upload,
    upload_options,
)
from devyard.sdk import templates
from devyard.wire.templates import CreateTemplateRequest


@click.command("create")
@click.argument("name", metavar="[TEMPLATE]", default="")
@organization_option
@click.option(
    "--default-ttl", type=read_duration, metavar="DURATION", help="Stop workspaces that long after a start."
)
@click.option("--failure-ttl", type=read_duration, metavar="DURATION", help="Stop a failed start after that long.")
@click.option(
    "--dormancy-threshold", type=read_duration, metavar="DURATION", help="Dormant when unused that long."
)
@click.option(
    "--dormancy-auto-deletion", type=read_duration, metavar="DURATION", help="Delete when dormant that long."
)
@click.option("--require-active-version", is_flag=True, help="Workspaces start on the active version only.")
@click.option("--private", is_flag=True, help="Only administrators may use it until it is shared.")
@upload_options
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    org: str,
    default_ttl: timedelta | None,
    failure_ttl: timedelta | None,
    dormancy_threshold: timedelta | None,
    dormancy_auto_deletion: timedelta | None,
    require_active_version: bool,
    private: bool,
    options: UploadOptions,
) -> None:
    """Make a template from a directory. Later versions: devyard templates push."""
    asks = settings.is_terminal and not options.yes
    if not name and options.is_stdin:
        raise CommandFailed("An archive from stdin has no name: devyard templates create NAME -d -")
    directory = options.directory.resolve()
    name = name or directory.name
    upload = read_upload(options, asks=asks)
    client = settings.client()
    organization_id = choose_organization(client, org)
    if find_template(client, organization_id, name):
        raise CommandFailed(
            f"There is a template {name!r} already. Upload its next version with: devyard templates push {name}"
        )
    if asks and not options.is_stdin:
        confirm(f"Upload {directory} as new template {name}?", default=True)
    version = import_archive(client, organization_id, upload, is_verbose=settings.is_verbose)
    request = CreateTemplateRequest(
        name,
        version.id,
        default_ttl_ms=milliseconds(default_ttl),
        failure_ttl_ms=milliseconds(failure_ttl),
        dormant_ttl_ms=milliseconds(dormancy_threshold),
        delete_ttl_ms=milliseconds(dormancy_auto_deletion),
        require_active_version=require_active_version,
        disable_everyone_group_access=private,
    )
    templates.create_template(client, organization_id, request)
    note(f"Template {name} is made. A workspace from it: devyard create --template {name}")
