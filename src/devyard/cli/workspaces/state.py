"""`devyard state`: Terraform's state of a workspace, for repairs."""

import sys
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_build
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.cli.workspaces.transitions import refuse_busy
from devyard.sdk import builds, workspaces
from devyard.sdk.client import Client
from devyard.sdk.session import write_private
from devyard.wire.errors import NotFound
from devyard.wire.workspaces import CreateBuildRequest, Workspace, WorkspaceBuild

MAX_STATE_BYTES = 29 << 20
"""What the server takes: a request is at most 40 MiB, and the state is in it in base64."""


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
    data = builds.get_state(client, _build(client, load_named(client, workspace), number).id)
    if file is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_private(str(file), data)
    note(f"Wrote {file}; it may hold secrets.")


@state.command("push")
@click.argument("workspace")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("-b", "--build", "number", type=int, default=0, help="Of that build instead of the last.")
@click.option("-n", "--no-build", is_flag=True, help="Only replace the state; do not bring the workspace in line.")
@click.option("--force", is_flag=True, help="Also a state of another lineage, or an older one.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def push(
    settings: Settings, workspace: str, file: Path, number: int, no_build: bool, force: bool, yes: bool
) -> None:
    """Replace the state by a file's content (- for stdin), then build the workspace again with it."""
    data = sys.stdin.buffer.read(MAX_STATE_BYTES + 1) if str(file) == "-" else _read(file)
    if len(data) > MAX_STATE_BYTES:
        raise CommandFailed(f"The state is larger than {MAX_STATE_BYTES >> 20} MiB.")
    _check_state(data, file)
    client = settings.client()
    found = load_named(client, workspace)
    refuse_busy(found)
    build = _build(client, found, number)
    if settings.is_terminal and not yes and str(file) != "-":
        confirm(f"Replace the Terraform state of build {build.build_number} of {found.owner_name}/{found.name}?")
    builds.put_state(client, build.id, data, is_forced=force)
    note(f"The state of build {build.build_number} of {build.workspace_name} is replaced.")
    if no_build or build.id != found.latest_build.id:
        return
    transition = found.latest_build.transition
    request = CreateBuildRequest("stop" if transition == "delete" else transition, reason="cli")
    follow_build(client, workspaces.create_build(client, found.id, request), is_verbose=settings.is_verbose)


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_STATE_BYTES + 1)


def _check_state(data: bytes, file: Path) -> None:
    """Raises CommandFailed for what Terraform could not read either."""
    import msgspec

    try:
        content = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise CommandFailed(f"{file} is no Terraform state: {error}.") from None
    if not isinstance(content, dict) or "version" not in content:
        raise CommandFailed(f"{file} is no Terraform state: a state is a JSON object with a version.")


def _build(client: Client, workspace: Workspace, number: int) -> WorkspaceBuild:
    if not number:
        return workspace.latest_build
    try:
        return builds.load_build(client, workspace.owner_name, workspace.name, number)
    except NotFound:
        last = workspace.latest_build.build_number
        raise CommandFailed(
            f"Workspace {workspace.name!r} has no build {number}; its last one is {last}."
        ) from None
