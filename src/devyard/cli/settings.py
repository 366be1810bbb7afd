"""Global options: which server, whose token, what to show. One `Settings` per process, in Click's `ctx.obj`.

Made by root.py, read by every command. Each option is also a variable: `DEVYARD_…`, or `CODER_…` as IDE plug-ins
set it. Precedence: option, variable, session files.
"""

import os
import sys
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from devyard import REPORTED_VERSION, __version__
from devyard.cli.failures import CommandFailed
from devyard.sdk.session import Session, default_config_dir, read_session

if TYPE_CHECKING:
    from devyard.sdk.client import Client

SERVES_ITSELF = frozenset({"server", "proxy", "agent", "quickstart"})
"""Commands that are programs of their own: what stands after their name is theirs."""


def variables(*names: str) -> list[str]:
    """Environment variables of an option: ours first, then the field's."""
    return [f"{prefix}_{name}" for name in names for prefix in ("DEVYARD", "CODER")]


GLOBAL_OPTIONS: tuple[click.Option, ...] = (
    click.Option(["--url"], envvar=variables("URL"), help="URL of the server.", metavar="URL"),
    click.Option(["--token"], envvar=variables("SESSION_TOKEN"), help="Session token.", metavar="TOKEN"),
    click.Option(
        ["--global-config"],
        envvar=variables("CONFIG_DIR"),
        metavar="DIR",
        help="Directory of the CLI's files (default: ~/.config/devyard).",
    ),
    click.Option(
        ["--header"],
        multiple=True,
        envvar=variables("HEADER"),
        metavar="NAME=VALUE",
        help="HTTP header for every request; repeatable.",
    ),
    click.Option(
        ["--header-command"],
        envvar=variables("HEADER_COMMAND"),
        metavar="COMMAND",
        help="Shell command that prints such headers, one NAME=VALUE a line.",
    ),
    click.Option(
        ["--no-version-warning"],
        is_flag=True,
        envvar=variables("NO_VERSION_WARNING"),
        help="Say nothing when the server is of another version.",
    ),
    click.Option(["--no-feature-warning"], is_flag=True, envvar=variables("NO_FEATURE_WARNING"), hidden=True),
    click.Option(["--disable-direct-connections"], is_flag=True, hidden=True),
    click.Option(["--disable-network-telemetry"], is_flag=True, hidden=True),
    click.Option(["--force-tty"], is_flag=True, envvar=variables("FORCE_TTY"), help="Ask as on a terminal."),
    click.Option(["-v", "--verbose"], is_flag=True, envvar=variables("VERBOSE"), help="Say more."),
)


class Settings(msgspec.Struct):
    """Global options as given, and what is derived from them when it is needed."""

    config_dir: str
    url: str = ""
    token: str = ""
    headers: tuple[str, ...] = ()
    header_command: str = ""
    force_tty: bool = False
    is_verbose: bool = False
    warns_of_version: bool = True
    _clients: list[Any] = []
    _session: Session | None = None

    @classmethod
    def from_options(cls, values: dict[str, object]) -> "Settings":
        """From Click's values."""
        given = cast("dict[str, str | None]", values)
        return cls(
            config_dir=given["global_config"] or default_config_dir(),
            url=given["url"] or "",
            token=given["token"] or "",
            headers=cast("tuple[str, ...]", values["header"]),
            header_command=given["header_command"] or "",
            force_tty=bool(values["force_tty"]),
            is_verbose=bool(values["verbose"]),
            warns_of_version=not values["no_version_warning"],
        )

    @property
    def session(self) -> Session:
        """Server and token in effect; either may be empty."""
        if self._session is None:
            stored = read_session(self.config_dir)
            url = self.url or stored.url
            # A stored token belongs to the stored server: it is not sent to another one.
            token = self.token or (stored.token if url.rstrip("/") == stored.url.rstrip("/") else "")
            self._session = Session(url.rstrip("/"), token)
        return self._session

    @property
    def is_terminal(self) -> bool:
        """Whether there is somebody to ask."""
        return self.force_tty or (sys.stdin.isatty() and sys.stderr.isatty())

    def client(self) -> "Client":
        """A client of the server that the user is signed in to. Raises CommandFailed when there is none."""
        session = self.session
        if not session.url:
            raise CommandFailed("You are not signed in. Sign in with: devyard login URL")
        if not session.token:
            raise CommandFailed(
                f"You are not signed in to {session.url}. Sign in with: devyard login {session.url}"
            )
        return self.client_of(session)

    def client_of(self, session: Session) -> "Client":
        """A client of any server, with the user's extra headers. Raises CommandFailed for a malformed URL."""
        from devyard.sdk.client import Client

        try:
            client = Client(
                session.url,
                session.token,
                headers=self._extra_headers(),
                user_agent=f"devyard/{__version__} (cli)",
            )
        except ValueError as error:
            raise CommandFailed(f"{error}.") from None
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Ends connections, and says once when the server is of another version."""
        for client in self._clients:
            client.close()
        seen = next((c.server_version for c in self._clients if c.server_version), "")
        if self.warns_of_version and seen and seen != REPORTED_VERSION:
            click.echo(
                f"Note: the server runs {seen}, this program is {REPORTED_VERSION}. Install the same version, or "
                "set DEVYARD_NO_VERSION_WARNING=true.",
                err=True,
            )

    def _extra_headers(self) -> dict[str, str]:
        lines = list(self.headers)
        if self.header_command:
            lines += _run_header_command(self.header_command, self.session.url)
        headers = {}
        for line in lines:
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                raise CommandFailed(f"The header {name!r} has no value; write NAME=VALUE.")
            headers[name.strip()] = value.strip()
        return headers


def _run_header_command(command: str, url: str) -> list[str]:
    import subprocess

    environment = {**os.environ, "DEVYARD_URL": url, "CODER_URL": url}
    try:
        done = subprocess.run(
            ["sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True, timeout=30, check=True
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise CommandFailed(f"The header command failed: {error}.") from None
    return [line for line in done.stdout.splitlines() if line.strip()]


def hoist_globals(arguments: list[str]) -> list[str]:
    """The same command line with global options in front, wherever they stood before a `--`.

    Editors write them after the command. Programs with options of their own are left alone.
    """
    flags, valued = set[str](), set[str]()
    for option in GLOBAL_OPTIONS:
        (flags if option.is_flag else valued).update(option.opts)
    front: list[str] = []
    rest: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        name = argument.partition("=")[0]
        if argument == "--" or _owns_the_rest(rest):
            break
        if argument in flags or (name in valued and "=" in argument):
            front.append(argument)
        elif argument in valued and position + 1 < len(arguments):
            front += arguments[position : position + 2]
            position += 1
        else:
            rest.append(argument)
        position += 1
    return front + rest + arguments[position:]


def _owns_the_rest(words: list[str]) -> bool:
    return bool(words) and (
        words[0] in SERVES_ITSELF or words[:2] in (["provisioner", "start"], ["provisioners", "start"])
    )
