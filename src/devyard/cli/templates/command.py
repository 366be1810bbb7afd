"""`devyard templates`: init, list, edit, delete; push, pull and versions live beside it."""

import shutil
from datetime import timedelta
from pathlib import Path

import click

from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import Entry, LazyGroup
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import Column, Listing, ago, list_options, note, short_duration
from devyard.cli.prompts import require_yes
from devyard.cli.settings import Settings
from devyard.sdk import templates as api
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.templates import Template, UpdateTemplateRequest

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
    Column("description", lambda t: t.description, is_default=False),
)


@click.group(
    "templates",
    cls=LazyGroup,
    entries={
        "pull": Entry(_HERE + "pull:pull", "Download a version's files."),
        "push": Entry(_HERE + "push:push", "Upload a directory as a template's next version."),
        "versions": Entry(_HERE + "versions:versions", "Versions of a template.", ("version",)),
    },
)
def templates() -> None:
    """Templates and their versions."""


@templates.command("init")
@click.argument("directory", type=click.Path(path_type=Path), default=None, required=False)
@click.option("--id", "starter", default="", help="Which starter template.")
@click.pass_obj
def init(settings: Settings, directory: Path | None, starter: str) -> None:
    """Make a directory with a starter template."""
    from devyard.runtime.starters import find_starters

    starters = find_starters()
    if not starter and len(starters) == 1:
        starter = next(iter(starters))
    if not starter and settings.is_terminal and starters:
        starter = click.prompt("Starter template", type=click.Choice(list(starters)), err=True)
    if starter not in starters:
        raise CommandFailed(
            f"Which starter template? Add --id with one of: {', '.join(starters) or '(none here)'}."
        )
    target = directory or Path(starter)
    if target.exists() and any(target.iterdir()):
        raise CommandFailed(f"{target} is not empty. Choose a new directory.")
    shutil.copytree(starters[starter], target, dirs_exist_ok=True)
    note(f"Made {target}. Change it as you like, then: devyard templates push {starter} -d {target}")


@templates.command("list")
@list_options(COLUMNS)
@click.pass_obj
def list_templates(settings: Settings, listing: Listing[Template]) -> None:
    """List templates."""
    client = settings.client()
    if listing.is_json:
        listing.show([], lambda: client.get_bytes("/templates"))
        return
    found = api.list_templates(client)
    listing.show(found, bytes, "No templates. Add one with: devyard templates push NAME -d DIRECTORY")


@templates.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@organization_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, names: tuple[str, ...], org: str, yes: bool) -> None:
    """Delete templates that no workspace uses."""
    client = settings.client()
    found = [load_template(client, org, name) for name in names]
    require_yes(f"Delete {', '.join(names)}?", yes=yes, is_terminal=settings.is_terminal)
    for template in found:
        api.delete_template(client, template.id)
        note(f"Template {template.name} is deleted.")


@templates.command("edit")
@click.argument("name")
@organization_option
@click.option("--name", "new_name", default=None, help="New name.")
@click.option("--display-name", default=None, help="Name shown to people.")
@click.option("--description", default=None, help="One or two sentences.")
@click.option("--icon", default=None, help="URL or /icon/… path.")
@click.option("--deprecated", default=None, help="Why it should not be used any more; empty takes it back.")
@click.option("--default-ttl", type=read_duration, default=None, help="Stop workspaces that long after a start.")
@click.option("--activity-bump", type=read_duration, default=None, help="How much use moves that stop.")
@click.option(
    "--allow-user-cancel-workspace-jobs", type=bool, default=None, help="Whether users may cancel builds."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def edit(
    settings: Settings,
    name: str,
    org: str,
    new_name: str | None,
    display_name: str | None,
    description: str | None,
    icon: str | None,
    deprecated: str | None,
    default_ttl: timedelta | None,
    activity_bump: timedelta | None,
    allow_user_cancel_workspace_jobs: bool | None,
    yes: bool,
) -> None:
    """Change a template's settings; what is not given stays."""
    request = UpdateTemplateRequest(
        name=new_name,
        display_name=display_name,
        description=description,
        icon=icon,
        default_ttl_ms=_milliseconds(default_ttl),
        activity_bump_ms=_milliseconds(activity_bump),
        allow_user_cancel_workspace_jobs=allow_user_cancel_workspace_jobs,
        deprecation_message=deprecated,
    )
    if request == UpdateTemplateRequest():
        raise CommandFailed("Nothing to change was given. See: devyard templates edit --help")
    client = settings.client()
    template = load_template(client, org, name)
    api.update_template(client, template.id, request)
    note(f"Template {new_name or name} is changed.")


def load_template(client: Client, organization: str, name: str) -> Template:
    """A template by name. Raises CommandFailed."""
    try:
        return api.load_template(client, choose_organization(client, organization), name)
    except NotFound:
        raise CommandFailed(f"There is no template {name!r}. See: devyard templates list") from None


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds() * 1000)


templates.add_aliases({"ls": "list", "rm": "delete"})
