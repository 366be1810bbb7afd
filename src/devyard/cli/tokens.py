"""`devyard tokens`: named API tokens."""

from datetime import timedelta

import click
import msgspec

from devyard.cli.durations import parse_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import LazyGroup
from devyard.cli.output import Column, Listing, ago, list_options, note
from devyard.cli.settings import Settings, variables
from devyard.sdk import users
from devyard.wire.errors import NotFound
from devyard.wire.identity import APIKey, CreateTokenRequest

COLUMNS: tuple[Column[APIKey], ...] = (
    Column("id", lambda t: t.id),
    Column("name", lambda t: t.token_name),
    Column("last used", lambda t: ago(t.last_used)),
    Column("expires at", lambda t: t.expires_at.astimezone().strftime("%Y-%m-%d %H:%M")),
    Column("created at", lambda t: t.created_at.astimezone().strftime("%Y-%m-%d %H:%M")),
    Column("scope", lambda t: t.scope, is_default=False),
    Column("owner", lambda t: t.username if isinstance(t.username, str) else "", is_default=False),
)


@click.group("tokens", cls=LazyGroup)
def tokens() -> None:
    """API tokens: for scripts and machines, each with a name and an end."""


@tokens.command("create")
@click.option("-n", "--name", default="", envvar=variables("TOKEN_NAME"), help="A name to know it by.")
@click.option(
    "--lifetime", default="", envvar=variables("TOKEN_LIFETIME"), help="As 30d or 12h; default: server's."
)
@click.option("-u", "--user", default="me", envvar=variables("TOKEN_USER"), help="Whose token (administrators).")
@click.pass_obj
def create(settings: Settings, name: str, lifetime: str, user: str) -> None:
    """Make a token and print it: it is shown only now."""
    span = timedelta() if not lifetime else parse_duration(lifetime)
    if span is None:
        raise CommandFailed(f"{lifetime!r} is no duration; write it as 30d or 12h.")
    request = CreateTokenRequest(int(span.total_seconds()) * 10**9, token_name=name)
    click.echo(users.create_token(settings.client(), request, user))


@tokens.command("list")
@click.option("-a", "--all", "include_all", is_flag=True, help="Tokens of every user (administrators).")
@list_options(COLUMNS)
@click.pass_obj
def list_tokens(settings: Settings, include_all: bool, listing: Listing[APIKey]) -> None:
    """List tokens."""
    found = users.list_tokens(settings.client(), include_all=include_all)
    listing.show(found, lambda: msgspec.json.encode(found), "No tokens. Make one with: devyard tokens create")


@tokens.command("remove")
@click.argument("token", metavar="NAME | ID | TOKEN")
@click.pass_obj
def remove(settings: Settings, token: str) -> None:
    """Revoke a token by its name, its id, or itself."""
    client = settings.client()
    found = users.list_tokens(client)
    wanted = token.partition("-")[0]
    match = next((t for t in found if t.token_name == token), None) or next(
        (t for t in found if t.id in (token, wanted)), None
    )
    try:
        users.delete_key(client, match.id if match else wanted, str(match.user_id) if match else "me")
    except NotFound:
        raise CommandFailed("There is no such token of yours. See: devyard tokens list") from None
    note(f"Token {match.token_name or match.id if match else wanted} is revoked.")


tokens.add_aliases({"ls": "list", "rm": "remove", "delete": "remove"})
