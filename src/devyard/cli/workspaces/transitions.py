"""`devyard start`, `stop`, `restart`, `update`, `delete`: the next build of a workspace, followed to its end."""

from pathlib import Path
from typing import Any, get_args

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_build
from devyard.cli.output import note
from devyard.cli.prompts import confirm, require_yes
from devyard.cli.settings import Settings
from devyard.cli.workspaces.create import finish_start
from devyard.cli.workspaces.parameters import Given, build_parameter_options, decide_values, read_given
from devyard.cli.workspaces.targets import load_named
from devyard.cli.workspaces.waiting import start_request
from devyard.sdk import builds, templates, workspaces
from devyard.sdk.client import Client
from devyard.wire.enums import BuildReason
from devyard.wire.errors import NotFound
from devyard.wire.workspaces import CreateBuildRequest, Workspace

BUSY = frozenset({"pending", "starting", "stopping", "canceling", "deleting"})


@click.command("start")
@click.argument("workspace")
@build_parameter_options
@click.option("--no-wait", is_flag=True, help="Return as soon as the build is queued.")
@click.option("--reason", type=click.Choice(get_args(BuildReason)), default="cli", help="Noted in the build.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_obj
def start(
    settings: Settings, /, workspace: str, no_wait: bool, reason: BuildReason, yes: bool, **parameters: Any
) -> None:
    """Start a workspace and wait until its agent has connected."""
    client = settings.client()
    found = load_named(client, workspace)
    build = found.latest_build
    if build.status in ("pending", "starting"):
        finish_start(client, found, is_verbose=settings.is_verbose)
        return
    _refuse_busy(found)
    if build.status == "running":
        note(f"Workspace {found.name} is running already.")
        return
    _start(settings, client, found, reason, no_wait=no_wait, asks=settings.is_terminal and not yes, **parameters)


@click.command("stop")
@click.argument("workspace")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def stop(settings: Settings, workspace: str, yes: bool) -> None:
    """Stop a workspace. Its home directory stays."""
    client = settings.client()
    found = load_named(client, workspace)
    if found.latest_build.status == "stopped":
        note(f"Workspace {found.name} is stopped already.")
        return
    if settings.is_terminal and not yes:
        confirm(f"Stop workspace {found.name}?", default=True)
    _stop(settings, client, found)
    note(f"Workspace {found.name} is stopped.")


@click.command("restart")
@click.argument("workspace")
@build_parameter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restart(settings: Settings, /, workspace: str, yes: bool, **parameters: Any) -> None:
    """Stop a workspace and start it again."""
    client = settings.client()
    found = load_named(client, workspace)
    asks = settings.is_terminal and not yes
    request = _prepare(client, found, start_request(found, "cli"), asks=asks, **parameters)
    if asks:
        confirm(f"Restart workspace {found.name}?", default=True)
    if found.latest_build.status != "stopped":
        _stop(settings, client, found)
    _run_start(settings, client, found, request)


@click.command("update")
@click.argument("workspace")
@build_parameter_options
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_obj
def update(settings: Settings, /, workspace: str, yes: bool, **parameters: Any) -> None:
    """Move a workspace to its template's active version and start it."""
    client = settings.client()
    found = load_named(client, workspace)
    if not found.outdated and not parameters["always_prompt"] and not parameters["parameters"]:
        note(f"Workspace {found.name} is up to date.")
        return
    _refuse_busy(found)
    request = CreateBuildRequest("start", template_version_id=found.template_active_version_id, reason="cli")
    request = _prepare(client, found, request, asks=settings.is_terminal and not yes, **parameters)
    if found.latest_build.status == "running":
        _stop(settings, client, found)
    _run_start(settings, client, found, request)


@click.command("delete")
@click.argument("workspace")
@click.option("--orphan", is_flag=True, help="Forget the workspace without touching what Terraform made.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, workspace: str, orphan: bool, yes: bool) -> None:
    """Delete a workspace and all that is in it."""
    client = settings.client()
    found = load_named(client, workspace)
    if found.latest_build.status == "deleting":
        follow_build(client, found.latest_build, is_verbose=settings.is_verbose)
        return
    question = f"Workspace {found.owner_name}/{found.name} and everything in it will be gone for good. Delete it?"
    require_yes(question, yes=yes, is_terminal=settings.is_terminal)
    _finish_active(settings, client, found)
    request = CreateBuildRequest("delete", orphan=orphan, reason="cli")
    build = workspaces.create_build(client, found.id, request)
    follow_build(client, build, is_verbose=settings.is_verbose)
    note(f"Workspace {found.name} is deleted.")


def _start(
    settings: Settings,
    client: Client,
    workspace: Workspace,
    reason: BuildReason,
    *,
    no_wait: bool,
    asks: bool,
    **parameters: Any,
) -> None:
    request = _prepare(client, workspace, start_request(workspace, reason), asks=asks, **parameters)
    if no_wait:
        workspaces.create_build(client, workspace.id, request)
        note(f"Workspace {workspace.name} is being started. Follow it with: devyard logs -f {workspace.name}")
        return
    _run_start(settings, client, workspace, request)


def _prepare(
    client: Client,
    workspace: Workspace,
    request: CreateBuildRequest,
    *,
    asks: bool,
    parameters: tuple[str, ...] = (),
    parameter_defaults: tuple[str, ...] = (),
    rich_parameter_file: Path | None = None,
    ephemeral: tuple[str, ...] = (),
    asks_ephemeral: bool = False,
    always_prompt: bool = False,
) -> CreateBuildRequest:
    """The request with parameter values; nothing is asked of the server where nothing can have changed."""
    given = read_given(
        parameters, parameter_defaults, rich_parameter_file, ephemeral, asks_ephemeral, always_prompt
    )
    version_id = request.template_version_id or workspace.latest_build.template_version_id
    is_same_version = version_id == workspace.latest_build.template_version_id
    if is_same_version and given == Given():
        return request
    asked = templates.list_parameters(client, version_id)
    previous = {p.name: p.value for p in builds.list_parameters(client, workspace.latest_build.id)}
    request.rich_parameter_values = decide_values(asked, given, previous=previous, is_terminal=asks)
    return request


def _run_start(settings: Settings, client: Client, workspace: Workspace, request: CreateBuildRequest) -> None:
    workspace.latest_build = workspaces.create_build(client, workspace.id, request)
    finish_start(client, workspace, is_verbose=settings.is_verbose)
    note(f"Workspace {workspace.name} is running. Enter it with: devyard ssh {workspace.name}")


def _stop(settings: Settings, client: Client, workspace: Workspace) -> None:
    _finish_active(settings, client, workspace)
    build = workspaces.create_build(client, workspace.id, CreateBuildRequest("stop", reason="cli"))
    follow_build(client, build, is_verbose=settings.is_verbose)


def _finish_active(settings: Settings, client: Client, workspace: Workspace) -> None:
    """Lets a build that is under way end first, however it ends: the next one can't be queued beside it."""
    if workspace.latest_build.status not in BUSY:
        return
    note(f"Workspace {workspace.name} is {workspace.latest_build.status}; waiting for that to end.")
    try:
        follow_build(client, workspace.latest_build, is_verbose=settings.is_verbose)
    except (CommandFailed, NotFound) as error:
        if isinstance(error, CommandFailed) and error.status != 1:
            raise


def _refuse_busy(workspace: Workspace) -> None:
    status = workspace.latest_build.status
    if status in BUSY:
        raise CommandFailed(
            f"Workspace {workspace.name} is {status}. Wait for that to end: devyard logs -f {workspace.name}"
        )
