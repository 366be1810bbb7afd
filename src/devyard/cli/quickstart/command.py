"""`devyard quickstart`: from nothing to a workspace's shell, and later back to the same one.

Called by scripts/try. Each step looks first whether it is done already, so that a second run resumes whatever is
there. What it makes up (the administrator's password, a free port) is kept in the data directory, mode 0600.
"""

import contextlib
import io
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.quickstart.localserver import LocalServer, choose_address
from devyard.cli.settings import Settings, variables
from devyard.cli.templates.archive import pack_directory
from devyard.runtime.starters import find_starters
from devyard.sdk import templates, users, workspaces
from devyard.sdk.client import Client
from devyard.sdk.session import Session, read_session, write_private, write_session
from devyard.wire.errors import AppError, NotFound
from devyard.wire.identity import CreateFirstUserRequest
from devyard.wire.templates import CreateTemplateVersionRequest
from devyard.wire.workspaces import CreateBuildRequest, CreateWorkspaceRequest, Workspace

RECORD_NAME = "quickstart.json"
DEFAULT_ADDRESS = "127.0.0.1:7080"
TEMPLATE = "local"
WORKSPACE = "dev"


class Kept(msgspec.Struct, omit_defaults=True):
    """What earlier runs made up."""

    http_address: str = ""
    access_url: str = ""
    email: str = ""
    username: str = ""
    password: str = ""


class _Ended(BaseException):
    """A signal asked for the end."""


@click.command("quickstart")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=None,
    envvar=variables("DATA_DIR"),
    help="Everything of the server (default: ~/.local/share/devyard).",
)
@click.option(
    "--http-address", default="", envvar=variables("HTTP_ADDRESS"), help=f"Where it listens ({DEFAULT_ADDRESS})."
)
@click.option(
    "--sandbox-isolation",
    type=click.Choice(["namespaces", "none"]),
    default=None,
    help="none: the workspace is an ordinary process of this machine, where namespaces are forbidden.",
)
@click.option("--no-shell", is_flag=True, help="Do not enter the workspace; serve until Ctrl-C.")
@click.pass_obj
def quickstart(
    settings: Settings, data_dir: Path | None, http_address: str, sandbox_isolation: str | None, no_shell: bool
) -> None:
    """From nothing to a workspace's shell: server, first administrator, template, workspace."""
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    server = LocalServer(directory)
    if sandbox_isolation is not None:
        server.options += ["--sandbox-isolation", sandbox_isolation]
    with _ending_on_signals():
        try:
            run = _Quickstart(settings, server, _load_kept(directory))
            run.prepare(http_address)
            if no_shell or not (sys.stdin.isatty() and sys.stdout.isatty()):
                run.serve()
            else:
                run.enter()
        except (_Ended, KeyboardInterrupt):
            note("")
        finally:
            if server.is_ours:
                with _step("Stopping the server"):
                    server.stop()


def default_data_dir() -> Path:
    """The server's own default."""
    root = os.environ.get("XDG_DATA_HOME")
    return Path(root if root else "~/.local/share") / "devyard"


class _Quickstart:
    def __init__(self, settings: Settings, server: LocalServer, kept: Kept) -> None:
        self.settings, self.server, self.kept = settings, server, kept

    def prepare(self, http_address: str) -> None:
        """Everything up to a workspace that takes connections."""
        self._start_server(http_address)
        client = self._sign_in()
        self._import_template(client)
        self._prepare_workspace(client)

    def serve(self) -> None:
        """Says how to go on and keeps serving."""
        click.echo(self._summary())
        if self.server.is_ours:
            note("Serving until Ctrl-C.")
            self.server.wait()

    def enter(self) -> None:
        """The workspace's shell; afterwards how to come back."""
        import subprocess

        click.echo(self._summary())
        note(f"Entering {WORKSPACE}; leave it with Ctrl-D.")
        subprocess.run([*self._cli(), "ssh", WORKSPACE], check=False)
        note(f"\nThe workspace and all in it stay in {self.server.data_dir}. Come back with the same command.")

    def _start_server(self, http_address: str) -> None:
        with _step("Starting the server") as done:
            if self.server.find_running():
                done(f"It runs already, at {self.server.url}")
                return
            self.server.start(self._choose_address(http_address))
            done(f"Server ready at {self.server.url}")

    def _choose_address(self, wanted: str) -> str:
        """The address wanted, else that of the last run, where the agents of workspaces look for it."""
        if wanted and not wanted.endswith(":0"):
            return wanted
        return choose_address(self.kept.http_address or wanted or DEFAULT_ADDRESS)

    def _sign_in(self) -> Client:
        url = self.server.url.rstrip("/")
        with _step("Signing in") as done:
            anonymous = self.settings.client_of(Session(url, ""))
            if not users.has_first_user(anonymous):
                self._make_first_user(anonymous)
            stored = read_session(self.settings.config_dir)
            token = stored.token if stored.url == url and self._is_valid(url, stored.token) else ""
            if not token:
                token = self._new_session(anonymous)
                write_session(self.settings.config_dir, Session(url, token))
            client = self.settings.client_of(Session(url, token))
            done(f"Signed in as {users.get_user(client).username}")
        if stored.url not in ("", url, self.kept.access_url):
            note(f"  The CLI was signed in to {stored.url} before. Go back with: devyard login {stored.url}")
        return client

    def _make_first_user(self, client: Client) -> None:
        self.kept.username, self.kept.email = "admin", "admin@devyard.invalid"
        self.kept.password = secrets.token_urlsafe(15)
        self._keep()
        users.create_first_user(
            client, CreateFirstUserRequest(self.kept.email, self.kept.username, self.kept.password)
        )

    def _is_valid(self, url: str, token: str) -> bool:
        try:
            users.get_user(self.settings.client_of(Session(url, token)))
        except AppError:
            return False
        return bool(token)

    def _new_session(self, client: Client) -> str:
        if not self.kept.password:
            raise CommandFailed(
                f"The server in {self.server.data_dir} has users that quickstart did not make. "
                f"Sign in first: devyard login {client.url}"
            )
        try:
            return users.log_in(client, self.kept.email, self.kept.password)
        except AppError as error:
            raise CommandFailed(
                f"Signing in as {self.kept.email} failed: {error} Was the password changed? "
                f"Sign in first: devyard login {client.url}"
            ) from None

    def _import_template(self, client: Client) -> None:
        with _step(f"Importing template {TEMPLATE}") as done:
            if any(template.name == TEMPLATE for template in templates.list_templates(client)):
                done(f"Template {TEMPLATE} is there")
                return
            starters = find_starters()
            if TEMPLATE not in starters:
                raise CommandFailed(f"This installation lacks the starter template {TEMPLATE!r}.")
            from devyard.cli.templates.push import push_archive

            with _shown_on_failure() as log:
                request = CreateTemplateVersionRequest(message="Starter template")
                push_archive(client, TEMPLATE, pack_directory(starters[TEMPLATE]), request, stream=log)
            done(f"Template {TEMPLATE} imported")

    def _prepare_workspace(self, client: Client) -> None:
        with _step(f"Building workspace {WORKSPACE}") as done:
            workspace, is_new = self._find_workspace(client)
            with _shown_on_failure() as log:
                from devyard.cli.joblog import ENDED, follow_build
                from devyard.cli.workspaces.waiting import start_request, wait_for_agents

                if not is_new and workspace.latest_build.job.status not in ENDED:
                    with contextlib.suppress(CommandFailed):
                        follow_build(client, workspace.latest_build, stream=log)
                    workspace = workspaces.get_workspace(client, workspace.id)
                has_moved = self.kept.access_url not in ("", self.server.url)
                if has_moved and workspace.latest_build.status == "running":
                    # Its agent looks for the server where it was: a new build tells it where it is.
                    stop = workspaces.create_build(client, workspace.id, CreateBuildRequest("stop", reason="cli"))
                    with contextlib.suppress(CommandFailed):  # the start below decides
                        follow_build(client, stop, stream=log)
                    workspace = workspaces.get_workspace(client, workspace.id)
                if not is_new and workspace.latest_build.status != "running":
                    workspace.latest_build = workspaces.create_build(
                        client, workspace.id, start_request(workspace, "cli")
                    )
                follow_build(client, workspace.latest_build, stream=log)
                wait_for_agents(client, workspaces.get_workspace(client, workspace.id))
            self.kept.access_url = self.server.url
            self.kept.http_address = self.server.address
            self._keep()
            done(f"Workspace {WORKSPACE} is {'built' if is_new else 'running'}, its agent connected")

    def _find_workspace(self, client: Client) -> tuple[Workspace, bool]:
        try:
            return workspaces.load_workspace(client, "me", WORKSPACE), False
        except NotFound:
            template = next(t for t in templates.list_templates(client) if t.name == TEMPLATE)
            request = CreateWorkspaceRequest(WORKSPACE, template_version_id=template.active_version_id)
            return workspaces.create_workspace(client, request), True

    def _summary(self) -> str:
        lines = ["", f"  URL       {self.server.url}"]
        if self.kept.password:
            lines += [f"  Sign in   {self.kept.email}  {self.kept.password}"]
        command = " ".join(self._cli(is_shown=True))
        lines += [
            f"  Commands  {command} list",
            f"            {command} ssh {WORKSPACE}",
            f"            {command} config-ssh --yes && ssh {WORKSPACE}.devyard",
            "",
        ]
        return "\n".join(lines)

    def _cli(self, *, is_shown: bool = False) -> list[str]:
        """This CLI with the configuration directory in use."""
        beside = Path(sys.executable).with_name("devyard")
        if is_shown:
            return ["devyard" if not beside.exists() else str(beside)]
        return [sys.executable, "-m", "devyard", "--global-config", self.settings.config_dir]

    def _keep(self) -> None:
        self.server.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(str(self.server.data_dir / RECORD_NAME), msgspec.json.encode(self.kept) + b"\n")


def _load_kept(directory: Path) -> Kept:
    try:
        return msgspec.json.decode((directory / RECORD_NAME).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return Kept()


class _Done:
    """Takes a step's result line."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, text: str) -> None:
        self.text = text


@contextlib.contextmanager
def _step(text: str) -> Iterator[_Done]:
    """Shows what is being done, then what came of it and how long it took."""
    is_terminal = sys.stderr.isatty()
    if is_terminal:
        click.echo(f"… {text}", nl=False, err=True)
    done = _Done(text)
    began = time.monotonic()
    try:
        yield done
    except BaseException:
        if is_terminal:
            click.echo("", err=True)
        raise
    took = time.monotonic() - began
    click.echo(f"{chr(13) + chr(27) + '[K' if is_terminal else ''}✓ {done.text} ({took:.1f} s)", err=True)


@contextlib.contextmanager
def _shown_on_failure() -> Iterator[io.StringIO]:
    """A place for a log that nobody needs unless something fails."""
    log = io.StringIO()
    try:
        yield log
    except CommandFailed:
        click.echo(f"\n{log.getvalue()}", err=True)
        raise


@contextlib.contextmanager
def _ending_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
