"""`devyard provisioner keys`: what provisioners on other machines sign in with."""

from collections.abc import Sequence

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import LazyGroup
from devyard.cli.nearby import hint_nearest
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import Column, Listing, ago, list_options, note
from devyard.cli.prompts import require_yes
from devyard.cli.provisioners.command import render_tags
from devyard.cli.settings import Settings
from devyard.cli.workspaces.parameters import parse_pairs
from devyard.sdk import provisioners as api
from devyard.wire.errors import Conflict, NotFound
from devyard.wire.jobs import ProvisionerDaemon, ProvisionerKey

COLUMNS: tuple[Column[ProvisionerKey], ...] = (
    Column("created at", lambda k: ago(k.created_at)),
    Column("name", lambda k: k.name),
    Column("tags", lambda k: render_tags(k.tags)),
    Column("id", lambda k: str(k.id), is_default=False),
)
USERS: Column[ProvisionerKey] = Column("provisioners", lambda k: "")
"""Filled once it is known who uses the keys."""


@click.group("keys", cls=LazyGroup)
def keys() -> None:
    """Keys with which provisioners sign in."""


@keys.command("create")
@click.argument("name")
@organization_option
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME=VALUE",
    help="Its provisioners take these jobs; repeatable.",
)
@click.pass_obj
def create(settings: Settings, name: str, org: str, tags: tuple[str, ...]) -> None:
    """Make a key and print it: it is shown only now."""
    wanted = parse_pairs(tags, "--tag")
    client = settings.client()
    try:
        text = api.create_key(client, choose_organization(client, org), name, wanted)
    except Conflict:
        raise CommandFailed(f"There is a key {name!r} already. Choose another name.") from None
    note(f"The key {name} is shown only now. Keep it in a file of mode 0600, then on the provisioner's machine:")
    note(f"  devyard provisioner start --url {client.url} --key-file FILE")
    click.echo(text)


@keys.command("list")
@organization_option
@list_options((*COLUMNS, USERS))
@click.pass_obj
def list_keys(settings: Settings, org: str, listing: Listing[ProvisionerKey]) -> None:
    """List keys and the provisioners that use them; the keys' text is not stored."""
    client = settings.client()
    organization = choose_organization(client, org)
    found = api.list_keys(client, organization)
    if USERS in listing.columns and not listing.is_json and found:
        users = {item.key.id: item.daemons for item in api.list_key_daemons(client, organization)}
        listing = listing.refined(USERS, lambda key: _describe_users(users.get(key.id, [])))
    empty = "No keys. Make one with: devyard provisioner keys create NAME"
    listing.show(found, lambda: msgspec.json.encode(found), empty)


def _describe_users(daemons: Sequence[ProvisionerDaemon]) -> str:
    return ", ".join(f"{daemon.name} ({daemon.status or 'unknown'})" for daemon in daemons)


@keys.command("delete")
@click.argument("name")
@organization_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, name: str, org: str, yes: bool) -> None:
    """Delete a key; provisioners that use it are cut off."""
    client = settings.client()
    organization = choose_organization(client, org)
    question = f"Delete the key {name}? Provisioners that use it are cut off."
    require_yes(question, yes=yes, is_terminal=settings.is_terminal)
    try:
        api.delete_key(client, organization, name)
    except NotFound:
        near = hint_nearest(name, [key.name for key in api.list_keys(client, organization)])
        raise CommandFailed(f"There is no key {name!r}.{near} See: devyard provisioner keys list") from None
    note(f"Key {name} is deleted.")


keys.add_aliases({"ls": "list", "rm": "delete"})
