"""`devyard users`: accounts, for administrators."""

import secrets

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import LazyGroup
from devyard.cli.output import Column, Listing, ago, list_options, note, print_json, render_pairs
from devyard.cli.prompts import ask, ask_secret, require_yes
from devyard.cli.settings import Settings
from devyard.sdk import organizations
from devyard.sdk import users as accounts
from devyard.wire.enums import LoginType
from devyard.wire.errors import NotFound
from devyard.wire.identity import CreateUserRequest, User

PAGE_LIMIT = 100

COLUMNS: tuple[Column[User], ...] = (
    Column("id", lambda u: str(u.id), is_default=False),
    Column("username", lambda u: u.username),
    Column("name", lambda u: u.name, is_default=False),
    Column("email", lambda u: u.email),
    Column("roles", lambda u: ", ".join(role.name for role in u.roles)),
    Column("created at", lambda u: ago(u.created_at)),
    Column("last seen at", lambda u: ago(u.last_seen_at), is_default=False),
    Column("login type", lambda u: u.login_type, is_default=False),
    Column("status", lambda u: u.status),
)


@click.group("users", cls=LazyGroup)
def users() -> None:
    """Users."""


@users.command("list")
@click.option("--search", default="", metavar="QUERY", help="Filter, as status:active role:owner.")
@list_options(COLUMNS)
@click.pass_obj
def list_users(settings: Settings, search: str, listing: Listing[User]) -> None:
    """List users."""
    client = settings.client()
    page = accounts.list_users(client, search, PAGE_LIMIT)
    found = page.users
    while page.users and len(found) < page.count:
        page = accounts.list_users(client, search, PAGE_LIMIT, len(found))
        found += page.users
    listing.show(found, lambda: msgspec.json.encode(found), "No users.")


@users.command("create")
@click.option("-u", "--username", default="", help="User name.")
@click.option("-e", "--email", default="", help="E-mail address.")
@click.option("-n", "--full-name", default="", help="Full name.")
@click.option("-p", "--password", default="", help="Password; asked for, or made up and printed.")
@click.option("--login-type", type=click.Choice(["password", "oidc", "github", "none"]), default="password")
@click.option("-O", "--org", default="", help="Organization (default: the default one).")
@click.pass_obj
def create(
    settings: Settings,
    username: str,
    email: str,
    full_name: str,
    password: str,
    login_type: LoginType,
    org: str,
) -> None:
    """Make a user."""
    if not (username and email) and not settings.is_terminal:
        raise CommandFailed("Who? Write: devyard users create --username NAME --email ADDRESS")
    client = settings.client()
    username = username or ask("User name")
    email = email or ask("E-mail")
    made_up = ""
    if login_type == "password" and not password:
        password = ask_secret("Password (empty: make one up)") if settings.is_terminal else ""
        if not password:
            password = made_up = secrets.token_urlsafe(16)
    here = organizations.list_organizations(client)
    chosen = [o for o in here if (o.name == org or str(o.id) == org if org else o.is_default)]
    if org and not chosen:
        raise CommandFailed(f"There is no organization {org!r} that you are in.")
    request = CreateUserRequest(
        email, username, full_name, password, login_type, organization_ids=[o.id for o in chosen]
    )
    user = accounts.create_user(client, request)
    note(f"User {user.username} ({user.email}) can sign in with: devyard login {client.url}")
    if made_up:
        click.echo(f"Password: {made_up}")


@users.command("show")
@click.argument("user", metavar="USERNAME | ID | me")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format.")
@click.pass_obj
def show(settings: Settings, user: str, output: str) -> None:
    """Show a user."""
    found = _load(settings, user)
    if output == "json":
        print_json(msgspec.json.encode(found))
    else:
        click.echo(render_pairs([(column.title, column.text(found)) for column in COLUMNS]), nl=False)


@users.command("suspend")
@click.argument("user", metavar="USERNAME | ID")
@click.pass_obj
def suspend(settings: Settings, user: str) -> None:
    """Lock a user out."""
    found = accounts.set_suspended(settings.client(), str(_load(settings, user).id), is_suspended=True)
    note(f"User {found.username} is suspended.")


@users.command("activate")
@click.argument("user", metavar="USERNAME | ID")
@click.pass_obj
def activate(settings: Settings, user: str) -> None:
    """Let a suspended user in again."""
    found = accounts.set_suspended(settings.client(), str(_load(settings, user).id), is_suspended=False)
    note(f"User {found.username} is active.")


@users.command("delete")
@click.argument("user", metavar="USERNAME | ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, user: str, yes: bool) -> None:
    """Remove a user who has no workspace any more."""
    found = _load(settings, user)
    require_yes(f"Remove user {found.username}?", yes=yes, is_terminal=settings.is_terminal)
    accounts.delete_user(settings.client(), str(found.id))
    note(f"User {found.username} is removed.")


@users.command("edit-roles")
@click.argument("user", metavar="USERNAME | ID")
@click.option("--roles", multiple=True, metavar="ROLE", help="All roles from now on; repeatable or a comma list.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def edit_roles(settings: Settings, user: str, roles: tuple[str, ...], yes: bool) -> None:
    """Replace a user's roles."""
    wanted = [role.strip() for part in roles for role in part.split(",") if role.strip()]
    found = _load(settings, user)
    if not wanted and not yes:
        raise CommandFailed(
            f"{found.username} has: {', '.join(r.name for r in found.roles) or 'no role'}. "
            "Give --roles, or --yes for none."
        )
    changed = accounts.update_roles(settings.client(), str(found.id), wanted)
    note(f"User {changed.username} has: {', '.join(role.name for role in changed.roles) or 'no role'}.")


def _load(settings: Settings, user: str) -> User:
    try:
        return accounts.get_user(settings.client(), user)
    except NotFound:
        raise CommandFailed(f"There is no user {user!r}. See: devyard users list") from None


users.add_aliases({"ls": "list", "active": "activate", "rm": "delete"})
