"""`devyard rename`, `favorite`, `unfavorite`, `autoupdate`: small changes of a workspace."""

from typing import get_args

import click

from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.sdk import workspaces
from devyard.wire.enums import AutomaticUpdates


@click.command("rename")
@click.argument("workspace")
@click.argument("new_name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rename(settings: Settings, workspace: str, new_name: str, yes: bool) -> None:
    """Rename a workspace."""
    client = settings.client()
    found = load_named(client, workspace)
    if settings.is_terminal and not yes:
        confirm(f"Rename {found.name} to {new_name}? A template may build it anew under its new name.")
    workspaces.rename_workspace(client, found.id, new_name)
    note(f"Workspace {found.name} is now {new_name}.")


@click.command("favorite")
@click.argument("workspace")
@click.pass_obj
def favorite(settings: Settings, workspace: str) -> None:
    """Put a workspace on top of the list."""
    client = settings.client()
    found = load_named(client, workspace)
    workspaces.set_favorite(client, found.id, is_favorite=True)
    note(f"Workspace {found.name} is a favorite.")


@click.command("unfavorite")
@click.argument("workspace")
@click.pass_obj
def unfavorite(settings: Settings, workspace: str) -> None:
    """Undo favorite."""
    client = settings.client()
    found = load_named(client, workspace)
    workspaces.set_favorite(client, found.id, is_favorite=False)
    note(f"Workspace {found.name} is no favorite any more.")


@click.command("autoupdate")
@click.argument("workspace")
@click.argument("policy", type=click.Choice(get_args(AutomaticUpdates)))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def autoupdate(settings: Settings, workspace: str, policy: AutomaticUpdates, yes: bool) -> None:
    """Take the template's active version at each start (always), or keep the one it has (never)."""
    client = settings.client()
    found = load_named(client, workspace)
    if settings.is_terminal and not yes:
        confirm(f"Set automatic updates of {found.name} to {policy}?", default=True)
    workspaces.set_automatic_updates(client, found.id, policy)
    note(f"Automatic updates of {found.name}: {policy}.")
