"""`devyard templates pull`: a version's files as they were pushed."""

import sys
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import organization_option
from devyard.cli.output import note
from devyard.cli.settings import Settings
from devyard.cli.templates.archive import unpack_archive
from devyard.cli.templates.command import load_template
from devyard.sdk import templates
from devyard.wire.errors import NotFound


@click.command("pull")
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path), default=None, required=False)
@organization_option
@click.option("--version", "version_name", default="active", help="Which version (default: the active one).")
@click.option("--tar", "as_tar", is_flag=True, help="Write the archive to stdout.")
@click.option("--zip", "as_zip", is_flag=True, help="The same as zip.")
@click.option("-y", "--yes", is_flag=True, help="Overwrite files.")
@click.pass_obj
def pull(
    settings: Settings,
    name: str,
    destination: Path | None,
    org: str,
    version_name: str,
    as_tar: bool,
    as_zip: bool,
    yes: bool,
) -> None:
    """Download a template version's files into a directory."""
    client = settings.client()
    template = load_template(client, org, name)
    try:
        if version_name == "active":
            version = templates.get_version(client, template.active_version_id)
        else:
            version = templates.load_version(client, template.id, version_name)
    except NotFound:
        raise CommandFailed(
            f"Template {name} has no version {version_name!r}. See: devyard templates versions list {name}"
        ) from None
    data = templates.download_file(client, version.job.file_id, "zip" if as_zip else None)
    if as_tar or as_zip:
        sys.stdout.buffer.write(data)
        return
    target = destination or Path(name)
    written = unpack_archive(data, target, overwrites=yes)
    note(f"Version {version.name} of template {name}: {len(written)} files in {target}.")
