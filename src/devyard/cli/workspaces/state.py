"""`devyard state`: Terraform's state of a workspace, for repairs."""

import sys
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.sdk import builds
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.workspaces import WorkspaceBuild

MAX_STATE_BYTES = 64 << 20


@click.group("state")
def state() -> None:
    """Read or replace a workspace's Terraform state."""


@state.command("pull")
@click.argument("workspace")
@click.argument("file", type=click.Path(path_type=Path), default=None, required=False)
@click.option("-b", "--build", "number", type=int, default=0, help="Of that build instead of the last.")
@click.pass_obj
def pull(settings: Settings, workspace: str, file: Path | None, number: int) -> None:
    """Write the state to a file, or to stdout."""
    client = settings.client()
    data = builds.get_state(client, _build(client, workspace, number).id)
    if file is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    file.touch(mode=0o600)
    file.write_bytes(data)


@state.command("push")
@click.argument("workspace")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("-b", "--build", "number", type=int, default=0, help="Of that build instead of the last.")
@click.pass_obj
def push(settings: Settings, workspace: str, file: Path, number: int) -> None:
    """Replace the state by a file's content (- for stdin)."""
    data = sys.stdin.buffer.read(MAX_STATE_BYTES + 1) if str(file) == "-" else file.read_bytes()
    if len(data) > MAX_STATE_BYTES:
        raise CommandFailed(f"The state is larger than {MAX_STATE_BYTES >> 20} MiB.")
    if not data.lstrip().startswith(b"{"):
        raise CommandFailed(f"{file} is no Terraform state: a state is a JSON object.")
    client = settings.client()
    build = _build(client, workspace, number)
    builds.put_state(client, build.id, data)
    note(f"The state of build {build.build_number} of {build.workspace_name} is replaced.")


def _build(client: Client, workspace: str, number: int) -> WorkspaceBuild:
    found = load_named(client, workspace)
    if not number:
        return found.latest_build
    try:
        return builds.load_build(client, found.owner_name, found.name, number)
    except NotFound:
        raise CommandFailed(f"Workspace {found.name!r} has no build {number}.") from None
