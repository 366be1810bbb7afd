"""`devyard templates archive`, `versions archive` and `unarchive`: versions out of sight, and back."""

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import organization_option
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.templates.command import load_template, load_version
from devyard.sdk import templates
from devyard.sdk.client import Client
from devyard.wire.errors import AppError
from devyard.wire.templates import Template, TemplateVersion


@click.command("archive")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@organization_option
@click.option("--all", "all_versions", is_flag=True, help="Every unused version, not only failed ones.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def archive_unused(settings: Settings, names: tuple[str, ...], org: str, all_versions: bool, yes: bool) -> None:
    """Archive failed versions (with --all every one) that no workspace uses; without names of every template."""
    client = settings.client()
    if names:
        found = [load_template(client, org, name) for name in dict.fromkeys(names)]
    else:
        found = [t for t in templates.list_templates(client) if org in ("", t.organization_name)]
    if not found:
        raise CommandFailed("There is no template whose versions could be archived.")
    if settings.is_terminal and not yes:
        kind = "every unused version" if all_versions else "unused versions whose import failed"
        confirm(f"Archive {kind} of {', '.join(t.name for t in found)}?", default=True)
    for template in found:
        count = len(templates.archive_unused_versions(client, template.id, all_=all_versions))
        note(f"Template {template.name}: {count} version{'' if count == 1 else 's'} archived.")


@click.command("archive")
@click.argument("template")
@click.argument("names", nargs=-1, required=True, metavar="VERSION…")
@organization_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def archive(settings: Settings, template: str, names: tuple[str, ...], org: str, yes: bool) -> None:
    """Take versions out of lists; nothing new is built from them."""
    client = settings.client()
    found, versions = _load(client, template, names, org)
    if active := [v.name for v in versions if v.id == found.active_version_id]:
        raise CommandFailed(
            f"Version {active[0]} is the active one. Promote another first: "
            f"devyard templates versions promote --template {found.name} --template-version VERSION"
        )
    if settings.is_terminal and not yes:
        confirm(f"Archive {', '.join(v.name for v in versions)} of {found.name}?", default=True)
    _change(client, [v for v in versions if not v.archived], archives=True)


@click.command("unarchive")
@click.argument("template")
@click.argument("names", nargs=-1, required=True, metavar="VERSION…")
@organization_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def unarchive(settings: Settings, template: str, names: tuple[str, ...], org: str, yes: bool) -> None:
    """Bring archived versions back."""
    client = settings.client()
    found, versions = _load(client, template, names, org)
    if settings.is_terminal and not yes:
        confirm(f"Bring back {', '.join(v.name for v in versions)} of {found.name}?", default=True)
    _change(client, [v for v in versions if v.archived], archives=False)


def _load(
    client: Client, template: str, names: tuple[str, ...], org: str
) -> tuple[Template, list[TemplateVersion]]:
    found = load_template(client, org, template)
    return found, [load_version(client, found, name) for name in dict.fromkeys(names)]


def _change(client: Client, versions: list[TemplateVersion], *, archives: bool) -> None:
    """Each version by itself: one that is refused does not keep the others."""
    refused = []
    for version in versions:
        try:
            (templates.archive_version if archives else templates.unarchive_version)(client, version.id)
        except AppError as error:
            refused.append(f"Version {version.name}: {error}")
        else:
            note(f"Version {version.name} is {'archived' if archives else 'back'}.")
    if not versions:
        note(f"Nothing to do: {'archived' if archives else 'in the list'} already.")
    if refused:
        raise CommandFailed("\n".join(refused))
