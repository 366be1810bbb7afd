"""`devyard login`, `logout`, `whoami`: who is signed in, and where.

No browser is needed: a token or e-mail and password, asked for on a terminal. On a new server the first
administrator is made here.
"""

import getpass
import os
from dataclasses import dataclass

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.prompts import ask, ask_secret, confirm
from devyard.cli.settings import Settings, variables
from devyard.sdk import users
from devyard.sdk.client import Client
from devyard.sdk.session import Session, forget_session, write_session
from devyard.wire.errors import AppError, Unauthenticated
from devyard.wire.identity import CreateFirstUserRequest


@dataclass(frozen=True)
class FirstUser:
    """What the `--first-user-*` options said; empty parts are asked for."""

    email: str
    username: str
    password: str
    full_name: str

    @property
    def is_given(self) -> bool:
        return bool(self.email or self.username or self.password)


@click.command("login")
@click.argument("server", metavar="[URL | token]", default="")
@click.option(
    "--first-user-email", default="", envvar=variables("FIRST_USER_EMAIL"), help="E-mail of the first user."
)
@click.option("--first-user-username", default="", envvar=variables("FIRST_USER_USERNAME"), help="Its user name.")
@click.option(
    "--first-user-full-name", default="", envvar=variables("FIRST_USER_FULL_NAME"), help="Its full name."
)
@click.option("--first-user-password", default="", envvar=variables("FIRST_USER_PASSWORD"), help="Its password.")
@click.option("--first-user-trial", is_flag=True, hidden=True)
@click.option("--email", default="", help="Sign in with this e-mail instead of being asked.")
@click.option("--use-token-as-session", is_flag=True, help="Keep the given token itself instead of a new session.")
@click.pass_obj
def login(
    settings: Settings,
    server: str,
    first_user_email: str,
    first_user_username: str,
    first_user_full_name: str,
    first_user_password: str,
    first_user_trial: bool,
    email: str,
    use_token_as_session: bool,
) -> None:
    """Sign in to a server, or print the token of the session (`login token`).

    Without --token, e-mail and password are asked for. On a new server the first administrator is made.
    """
    if server == "token":
        click.echo(settings.client().token)
        return
    url = normalize_url(server or settings.session.url)
    if not url:
        raise CommandFailed("Which server? Write: devyard login URL")
    client = settings.client_of(Session(url, ""))
    first = FirstUser(first_user_email, first_user_username, first_user_password, first_user_full_name)
    if not settings.token and not users.has_first_user(client):
        token = make_first_user(settings, client, first)
    elif settings.token:
        token = _session_from_token(settings, url, settings.token, keeps_token=use_token_as_session)
    else:
        token = _sign_in(settings, client, email)
    _finish(settings, url, token)


def normalize_url(text: str) -> str:
    """A URL as users type it: `dev.example.com` means https, an address with a port on loopback http."""
    text = text.strip().rstrip("/")
    if not text or "://" in text:
        return text
    host = text.partition("/")[0].rpartition(":")[0] or text
    return f"http://{text}" if host in ("localhost", "127.0.0.1", "[::1]") else f"https://{text}"


def make_first_user(settings: Settings, client: Client, first: FirstUser) -> str:
    """Makes the first administrator from options or answers; a session token."""
    if not settings.is_terminal and not (first.email and first.username and first.password):
        raise CommandFailed(
            f"{client.url} has no user yet. Make the first one: devyard login {client.url} "
            "--first-user-username NAME --first-user-email ADDRESS (password in DEVYARD_FIRST_USER_PASSWORD)"
        )
    if not first.is_given:
        note(f"{client.url} has no user yet. The first one becomes its administrator.")
    username = first.username or ask("User name", default=_local_user())
    email = first.email or ask("E-mail")
    password = first.password or _ask_new_password()
    users.create_first_user(client, CreateFirstUserRequest(email, username, password, first.full_name))
    return users.log_in(client, email, password)


def _ask_new_password() -> str:
    while True:
        password = ask_secret("Password")
        if password == ask_secret("The same again"):
            return password
        note("The two differ.")


def _local_user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return name if name.isalnum() and name.isascii() else ""


def _sign_in(settings: Settings, client: Client, email: str) -> str:
    if not settings.is_terminal:
        raise CommandFailed(
            f"There is no terminal to ask on. Give a token: devyard login {client.url} --token TOKEN "
            "(or DEVYARD_SESSION_TOKEN)"
        )
    email = email or ask("E-mail (or paste a token)")
    if "@" not in email:
        return _session_from_token(settings, client.url, email, keeps_token=True)
    for _ in range(3):
        try:
            return users.log_in(client, email, ask_secret("Password"))
        except Unauthenticated as error:
            note(str(error))
    raise CommandFailed("Three wrong passwords.")


def _session_from_token(settings: Settings, url: str, token: str, *, keeps_token: bool) -> str:
    client = settings.client_of(Session(url, token))
    try:
        users.get_user(client)
    except Unauthenticated:
        raise CommandFailed(
            f"{url} does not accept this token: it is wrong, or has expired or been revoked."
        ) from None
    if keeps_token:
        return token
    try:
        return users.create_session_key(client)
    except AppError:
        return token  # a token that may not make sessions is good for everything else


def _finish(settings: Settings, url: str, token: str) -> None:
    user = users.get_user(settings.client_of(Session(url, token)))
    try:
        write_session(settings.config_dir, Session(url, token))
    except OSError as error:
        raise CommandFailed(f"The session can't be stored in {settings.config_dir}: {error.strerror}.") from None
    note(f"Signed in to {url} as {user.username}.")


@click.command("logout")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def logout(settings: Settings, yes: bool) -> None:
    """Sign out: end the session on the server and forget it here."""
    client = settings.client()
    if not yes and settings.is_terminal:
        confirm(f"Sign out of {client.url}?", default=True)
    try:
        users.log_out(client)
    except Unauthenticated:
        pass  # it had ended already
    except AppError as error:
        note(f"The server could not be told: {error}")
    if not os.environ.get("DEVYARD_SESSION_TOKEN"):
        forget_session(settings.config_dir)
    note(f"Signed out of {client.url}.")


@click.command("whoami")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def whoami(settings: Settings, output: str) -> None:
    """Show who is signed in, and where."""
    client = settings.client()
    user = users.get_user(client)
    if output == "json":
        from devyard.cli.output import print_json, to_json

        print_json(to_json([{"url": client.url, "username": user.username, "id": user.id}]))
        return
    click.echo(f"{user.username} ({user.email}) at {client.url}")
