"""`devyard templates versions`: list and promote; archive and unarchive live in archiving.py."""

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import Entry, LazyGroup
from devyard.cli.organizations import organization_option
from devyard.cli.output import Column, Listing, ago, list_options, note
from devyard.cli.settings import Settings, variables
from devyard.cli.templates.command import load_template, load_version
from devyard.sdk import templates
from devyard.wire.templates import TemplateVersion

COLUMNS: tuple[Column[TemplateVersion], ...] = (
    Column("name", lambda v: v.name),
    Column("created at", lambda v: ago(v.created_at)),
    Column("created by", lambda v: v.created_by.username),
    Column("status", lambda v: v.job.status),
    Column("message", lambda v: v.message),
    Column("archived", lambda v: "yes" if v.archived else "", is_default=False),
    Column("id", lambda v: str(v.id), is_default=False),
)
ACTIVE: Column[TemplateVersion] = Column("active", lambda v: "")
"""Filled once the template is known."""


@click.group(
    "versions",
    cls=LazyGroup,
    entries={
        "archive": Entry("devyard.cli.templates.archiving:archive", "Take versions out of lists."),
        "unarchive": Entry("devyard.cli.templates.archiving:unarchive", "Bring archived versions back."),
    },
)
def versions() -> None:
    """Versions of a template."""


@versions.command("list")
@click.argument("template")
@organization_option
@click.option("--include-archived", is_flag=True, help="Archived ones too.")
@list_options((*COLUMNS, ACTIVE))
@click.pass_obj
def list_versions(
    settings: Settings, template: str, org: str, include_archived: bool, listing: Listing[TemplateVersion]
) -> None:
    """List a template's versions, newest last."""
    client = settings.client()
    found = load_template(client, org, template)
    rows = templates.list_versions(client, found.id, include_archived=include_archived)
    listing.refined(ACTIVE, lambda v: "active" if v.id == found.active_version_id else "").show(
        rows, lambda: msgspec.json.encode(rows), "No versions."
    )


@versions.command("promote")
@click.option("-t", "--template", required=True, envvar=variables("TEMPLATE_NAME"), help="The template.")
@click.option(
    "--template-version", "name", required=True, envvar=variables("TEMPLATE_VERSION_NAME"), help="The version."
)
@organization_option
@click.pass_obj
def promote(settings: Settings, template: str, name: str, org: str) -> None:
    """Make a version the active one."""
    client = settings.client()
    found = load_template(client, org, template)
    version = load_version(client, found, name)
    if version.job.status != "succeeded":
        raise CommandFailed(f"Version {version.name} can't be made active: its import is {version.job.status}.")
    templates.promote_version(client, found.id, version.id)
    note(f"Version {version.name} of template {template} is active.")


versions.add_aliases({"ls": "list"})
