"""`devyard templates pull`: a version's files as they were pushed."""

import sys
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import organization_option
from devyard.cli.output import note
from devyard.cli.settings import Settings
from devyard.cli.templates.archive import unpack_archive
from devyard.cli.templates.command import load_template, load_version
from devyard.sdk import templates


@click.command("pull")
@click.argument("name")
@click.argument("destination", type=click.Path(path_type=Path, allow_dash=True), default=None, required=False)
@organization_option
@click.option("--version", "version_name", default="active", help="Which version (default: the active one).")
@click.option("--tar", "as_tar", is_flag=True, help="The archive itself, to a file or stdout.")
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
    if as_tar and as_zip:
        raise CommandFailed("Give --tar or --zip, not both.")
    if (as_tar or as_zip) and destination is None and sys.stdout.isatty():
        raise CommandFailed("The archive would go to this terminal. Name a file, or send it to one with: > FILE")
    version = load_version(client, template, version_name)
    data = templates.download_file(client, version.job.file_id, "zip" if as_zip else None)
    if as_tar or as_zip:
        _write_archive(data, destination, overwrites=yes)
        return
    target = destination or Path(name)
    written = unpack_archive(data, target, overwrites=yes)
    note(f"Version {version.name} of template {name}: {len(written)} files in {target}.")


def _write_archive(data: bytes, file: Path | None, *, overwrites: bool) -> None:
    if file is None or str(file) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with file.open("wb" if overwrites else "xb") as target:
            target.write(data)
    except FileExistsError:
        raise CommandFailed(f"{file} is there already. Overwrite it with --yes.") from None
    note(f"Wrote {file}.")
