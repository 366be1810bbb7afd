"""The quickstart's steps in order: server, first administrator, template, workspace.

Called by command.py. Each step looks first whether it is done already, so that a second run resumes whatever is
there. What is made up (the administrator's password, a free port) is kept in the data directory, mode 0600.
"""

import contextlib
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import ENDED, follow_build
from devyard.cli.organizations import choose_organization
from devyard.cli.output import note
from devyard.cli.quickstart.localserver import LocalServer, choose_address
from devyard.cli.quickstart.steps import shown_on_failure, step
from devyard.cli.settings import Settings
from devyard.cli.templates.archive import pack_directory
from devyard.cli.templates.uploading import Upload, push_archive
from devyard.cli.workspaces.waiting import start_request, wait_for_agents
from devyard.runtime.starters import find_starters
from devyard.sdk import provisioners, templates, users, workspaces
from devyard.sdk.client import Client
from devyard.sdk.session import Session, read_session, write_private, write_session
from devyard.wire.errors import AppError, NotFound
from devyard.wire.identity import CreateFirstUserRequest
from devyard.wire.templates import CreateTemplateVersionRequest
from devyard.wire.workspaces import CreateBuildRequest, CreateWorkspaceRequest, Workspace, WorkspaceBuild

RECORD_NAME = "quickstart.json"
DEFAULT_ADDRESS = "127.0.0.1:7080"
TEMPLATE = "local"
WORKSPACE = "dev"
PROVISIONER_WAIT_S = 10.0
POLL_S = 0.1


class Kept(msgspec.Struct, omit_defaults=True):
    """What earlier runs made up."""

    http_address: str = ""
    access_url: str = ""
    email: str = ""
    username: str = ""
    password: str = ""


class Quickstart:
    """Server, administrator, template and workspace; each looked for first, then made."""

    def __init__(self, settings: Settings, server: LocalServer, kept: Kept) -> None:
        self.settings, self.server, self.kept = settings, server, kept

    def prepare(self, http_address: str) -> None:
        """Everything up to a workspace that takes connections."""
        self._start_server(http_address)
        client = self._sign_in()
        self._wait_for_provisioner(client)
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
        click.echo(self._summary())
        note(f"Entering {WORKSPACE}; leave it with Ctrl-D.")
        subprocess.run([*self._cli(), "ssh", WORKSPACE], check=False)
        note(f"\nThe workspace and all in it stay in {self.server.data_dir}. Come back with the same command.")

    def _start_server(self, http_address: str) -> None:
        with step("Starting the server") as done:
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
        with step("Signing in") as done:
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
        with step(f"Importing template {TEMPLATE}") as done:
            if any(template.name == TEMPLATE for template in templates.list_templates(client)):
                done(f"Template {TEMPLATE} is there")
                return
            starters = find_starters()
            if TEMPLATE not in starters:
                raise CommandFailed(f"This installation lacks the starter template {TEMPLATE!r}.")
            with shown_on_failure() as log:
                request = CreateTemplateVersionRequest(message="Starter template")
                upload = Upload(pack_directory(starters[TEMPLATE]), request)
                push_archive(client, choose_organization(client, ""), TEMPLATE, None, upload, stream=log)
            done(f"Template {TEMPLATE} imported")

    def _wait_for_provisioner(self, client: Client) -> None:
        """The server's own provisioners connect a moment after it answers; an import explains what else it is."""
        for _ in range(int(PROVISIONER_WAIT_S / POLL_S)):
            if provisioners.list_daemons(client, "default", 1, is_offline_shown=False):
                return
            time.sleep(POLL_S)

    def _prepare_workspace(self, client: Client) -> None:
        with step(f"Building workspace {WORKSPACE}") as done:
            workspace, is_new = self._find_workspace(client)
            with shown_on_failure() as log:
                if not is_new:
                    workspace = self._bring_to_start(client, workspace, log)
                follow_build(client, workspace.latest_build, stream=log)
                wait_for_agents(client, workspaces.get_workspace(client, workspace.id))
            self.kept.access_url = self.server.url
            self.kept.http_address = self.server.address
            self._keep()
            done(f"Workspace {WORKSPACE} is {'built' if is_new else 'running'}, its agent connected")

    def _bring_to_start(self, client: Client, workspace: Workspace, log: TextIO) -> Workspace:
        """A workspace of an earlier run, its latest build a start."""
        if workspace.latest_build.job.status not in ENDED:
            workspace = self._wait_out(client, workspace, workspace.latest_build, log)
        has_moved = self.kept.access_url not in ("", self.server.url)
        if has_moved and workspace.latest_build.status == "running":
            # Its agent looks for the server where it was: a new build tells it where it is.
            stop = workspaces.create_build(client, workspace.id, CreateBuildRequest("stop", reason="cli"))
            workspace = self._wait_out(client, workspace, stop, log)
        if workspace.latest_build.status != "running":
            request = start_request(workspace, "cli")
            workspace.latest_build = workspaces.create_build(client, workspace.id, request)
        return workspace

    def _wait_out(self, client: Client, workspace: Workspace, build: WorkspaceBuild, log: TextIO) -> Workspace:
        """The workspace after a build, however that ends: the next one decides."""
        with contextlib.suppress(CommandFailed):
            follow_build(client, build, stream=log)
        return workspaces.get_workspace(client, workspace.id)

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


def load_kept(directory: Path) -> Kept:
    try:
        return msgspec.json.decode((directory / RECORD_NAME).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return Kept()
