"""`devyard templates push`: a directory becomes a template's next version, imported, and active."""

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.switches import SwitchCommand
from devyard.cli.templates.uploading import (
    IMPLIED_TAGS,
    UploadOptions,
    find_template,
    push_archive,
    read_upload,
    upload_options,
)
from devyard.sdk import templates
from devyard.sdk.client import Client
from devyard.wire.templates import Template


@click.command("push", cls=SwitchCommand)
@click.argument("name", metavar="[TEMPLATE]", default="")
@organization_option
@click.option("--activate", type=bool, default=True, help="Make the version the active one (default).")
@click.option("--name", "version_name", default="", help="Name of the version (default: made up).")
@click.option("--always-prompt", is_flag=True, hidden=True)
@upload_options
@click.pass_obj
def push(
    settings: Settings,
    name: str,
    org: str,
    activate: bool,
    version_name: str,
    always_prompt: bool,
    options: UploadOptions,
) -> None:
    """Upload a directory as a template's next version (the first one makes the template)."""
    asks = settings.is_terminal and not options.yes
    if not name and options.is_stdin:
        raise CommandFailed("Which template? An archive from stdin has no name: devyard templates push NAME -d -")
    directory = options.directory.resolve()
    name = name or directory.name
    upload = read_upload(options, asks=asks)
    upload.request.name = version_name
    client = settings.client()
    organization_id = choose_organization(client, org)
    template = find_template(client, organization_id, name)
    if template and not options.tags:
        upload.request.tags = _kept_tags(client, template)
    if asks and not options.is_stdin:
        what = f"a new version of template {name}" if template else f"new template {name}"
        confirm(f"Upload {directory} as {what}?", default=True)
    template, version = push_archive(
        client, organization_id, name, template, upload, activates=activate, is_verbose=settings.is_verbose
    )
    is_active = activate or template.active_version_id == version.id
    note(f"Template {name}: version {version.name} is imported and {'active' if is_active else 'not active yet'}.")
    if not is_active:
        note(
            "Make it active with: devyard templates versions promote "
            f"--template {name} --template-version {version.name}"
        )


def _kept_tags(client: Client, template: Template) -> dict[str, str]:
    """The tags of the active version: a push that names none keeps them."""
    tags = templates.get_version(client, template.active_version_id).job.tags
    kept = {name: value for name, value in tags.items() if name not in IMPLIED_TAGS}
    if kept:
        shown = " ".join(f"{name}={value}" for name, value in sorted(kept.items()))
        note(f"Provisioner tags, as before: {shown} (take them away with --provisioner-tag -)")
    return kept
