"""`devyard templates`: the group, its list, and how its commands find a template and a version by name."""

from datetime import timedelta

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import Entry, LazyGroup
from devyard.cli.nearby import hint_nearest
from devyard.cli.organizations import choose_organization
from devyard.cli.output import Column, Listing, ago, list_options, short_duration
from devyard.cli.settings import Settings
from devyard.sdk import templates as api
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.templates import Template, TemplateVersion

_HERE = "devyard.cli.templates."

COLUMNS: tuple[Column[Template], ...] = (
    Column("name", lambda t: t.name),
    Column("display name", lambda t: t.display_name, is_default=False),
    Column("created at", lambda t: ago(t.created_at), is_default=False),
    Column("last updated", lambda t: ago(t.updated_at)),
    Column("organization id", lambda t: str(t.organization_id), is_default=False),
    Column("organization name", lambda t: t.organization_name),
    Column("provisioner", lambda t: t.provisioner, is_default=False),
    Column("active version id", lambda t: str(t.active_version_id), is_default=False),
    Column("used by", lambda t: f"{t.active_user_count} user{'' if t.active_user_count == 1 else 's'}"),
    Column("default ttl", lambda t: short_duration(timedelta(milliseconds=t.default_ttl_ms)), is_default=False),
    Column("deprecated", lambda t: t.deprecation_message or "yes" if t.deprecated else "", is_default=False),
    Column("description", lambda t: t.description, is_default=False),
)


@click.group(
    "templates",
    cls=LazyGroup,
    entries={
        "archive": Entry(_HERE + "archiving:archive_unused", "Archive versions that nothing uses."),
        "check": Entry(_HERE + "check:check", "Check a template here, without a server."),
        "create": Entry(_HERE + "create:create", "Make a template from a directory."),
        "delete": Entry(_HERE + "deleting:delete", "Delete templates that no workspace uses.", ("rm",)),
        "edit": Entry(_HERE + "editing:edit", "Change a template's settings."),
        "init": Entry(_HERE + "init:init", "Make a directory with a starter template."),
        "presets": Entry(_HERE + "presets:presets", "Presets of a template.", ("preset",)),
        "pull": Entry(_HERE + "pull:pull", "Download a version's files."),
        "push": Entry(_HERE + "push:push", "Upload a directory as a template's next version."),
        "versions": Entry(_HERE + "versions:versions", "Versions of a template.", ("version",)),
    },
)
def templates() -> None:
    """Templates and their versions."""


@templates.command("list")
@click.option("-q", "--search", default="", metavar="QUERY", help="Filter, as name:TEXT deprecated:false.")
@list_options(COLUMNS)
@click.pass_obj
def list_templates(settings: Settings, search: str, listing: Listing[Template]) -> None:
    """List templates."""
    client = settings.client()
    if listing.is_json:
        listing.show([], lambda: client.get_bytes("/templates", q=search or None))
        return
    found = api.list_templates(client, search)
    listing.show(found, bytes, "No templates. Add one with: devyard templates push NAME -d DIRECTORY")


def load_template(client: Client, organization: str, name: str) -> Template:
    """A template by name. Raises CommandFailed."""
    try:
        return api.load_template(client, choose_organization(client, organization), name)
    except NotFound:
        near = hint_nearest(name, [template.name for template in api.list_templates(client)])
        raise CommandFailed(f"There is no template {name!r}.{near} See: devyard templates list") from None


def load_version(client: Client, template: Template, name: str) -> TemplateVersion:
    """A version by name; `active` and no name mean the active one. Raises CommandFailed."""
    try:
        if name in ("", "active"):
            return api.get_version(client, template.active_version_id)
        return api.load_version(client, template.id, name)
    except NotFound:
        near = hint_nearest(name, [v.name for v in api.list_versions(client, template.id, include_archived=True)])
        raise CommandFailed(
            f"Template {template.name} has no version {name!r}.{near} "
            f"See: devyard templates versions list {template.name}"
        ) from None


templates.add_aliases({"ls": "list"})
