"""`devyard organizations`: where one is a member, and who else is; and `--org` of the other commands."""

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import LazyGroup
from devyard.cli.output import Column, Listing, list_options, yes_no
from devyard.cli.settings import Settings, variables
from devyard.sdk import organizations as api
from devyard.sdk.client import Client
from devyard.wire.identity import Organization, OrganizationMember

COLUMNS: tuple[Column[Organization], ...] = (
    Column("id", lambda o: str(o.id)),
    Column("name", lambda o: o.name),
    Column("display name", lambda o: o.display_name, is_default=False),
    Column("default", lambda o: yes_no(o.is_default)),
)
MEMBER_COLUMNS: tuple[Column[OrganizationMember], ...] = (
    Column("username", lambda m: m.username),
    Column("name", lambda m: m.name, is_default=False),
    Column("user id", lambda m: str(m.user_id), is_default=False),
    Column("organization roles", lambda m: ", ".join(role.name for role in m.roles)),
)


organization_option = click.option(
    "-O", "--org", default="", envvar=variables("ORGANIZATION"), help="Organization (default: the default one)."
)


@click.group("organizations", cls=LazyGroup)
@click.option(
    "-O", "--org", default="", envvar=variables("ORGANIZATION"), help="Which one (default: the default)."
)
@click.pass_context
def organizations(ctx: click.Context, org: str) -> None:
    """Organizations and members."""
    ctx.meta["devyard.organization"] = org


@organizations.command("show")
@click.argument("which", metavar="[selected | me | ID | NAME]", default="selected")
@click.option("--only-id", is_flag=True, help="Print the id alone.")
@list_options(COLUMNS)
@click.pass_context
def show(ctx: click.Context, which: str, only_id: bool, listing: Listing[Organization]) -> None:
    """Show the organization in use (selected), all of yours (me), or a given one."""
    client = _client(ctx)
    found = api.list_organizations(client)
    if which != "me":
        wanted = ctx.meta["devyard.organization"] if which == "selected" else which
        chosen = choose_organization(client, wanted)
        found = [o for o in found if str(o.id) == chosen]
    if only_id:
        click.echo("\n".join(str(o.id) for o in found))
        return
    listing.show(found, lambda: msgspec.json.encode(found), "You are in no organization.")


@click.group("members", cls=LazyGroup)
def members() -> None:
    """Members of an organization."""


@members.command("list")
@list_options(MEMBER_COLUMNS)
@click.pass_context
def list_members(ctx: click.Context, listing: Listing[OrganizationMember]) -> None:
    """List members and their roles."""
    client = _client(ctx)
    found = api.list_members(client, choose_organization(client, ctx.meta["devyard.organization"]))
    listing.show(found, lambda: msgspec.json.encode(found), "No members.")


def choose_organization(client: Client, name: str) -> str:
    """The organization's id: the one named, or the default one. Raises CommandFailed."""
    found = api.list_organizations(client)
    for organization in found:
        if name in (organization.name, str(organization.id)) if name else organization.is_default:
            return str(organization.id)
    if name:
        from devyard.cli.nearby import hint_nearest

        near = hint_nearest(name, [organization.name for organization in found])
        raise CommandFailed(f"There is no organization {name!r} that you are in.{near}")
    if len(found) == 1:
        return str(found[0].id)
    raise CommandFailed(f"Which organization? Add --org with one of: {', '.join(o.name for o in found)}.")


def _client(ctx: click.Context) -> Client:
    settings = ctx.obj
    assert isinstance(settings, Settings)
    return settings.client()


organizations.add_command(members)
organizations.add_aliases({"member": "members"})
members.add_aliases({"ls": "list"})
