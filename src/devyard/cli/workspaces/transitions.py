"""`devyard start`, `stop`, `restart`, `delete`: the next build of a workspace, followed to its end."""

from typing import Any, get_args

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_build
from devyard.cli.output import note
from devyard.cli.prompts import confirm, require_yes
from devyard.cli.queueing import warn_unmatched
from devyard.cli.settings import Settings
from devyard.cli.workspaces.create import finish_start
from devyard.cli.workspaces.parameters import build_parameter_options
from devyard.cli.workspaces.preparing import prepare_build
from devyard.cli.workspaces.targets import list_resources, load_named
from devyard.cli.workspaces.waiting import start_request
from devyard.sdk import workspaces
from devyard.sdk.client import Client
from devyard.wire.enums import BuildReason
from devyard.wire.errors import NotFound
from devyard.wire.workspaces import CreateBuildRequest, Workspace

DATA_ONLY = frozenset(
    {"coder_agent", "devyard_agent", "random_id", "random_string", "random_password", "time_static"}
)
"""Resource types that leave nothing behind outside Terraform's state."""

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
    refuse_busy(found)
    if build.status == "running":
        note(f"Workspace {found.name} is running already.")
        return
    _start(settings, client, found, reason, no_wait=no_wait, asks=settings.is_terminal and not yes, **parameters)


@click.command("stop")
@click.argument("workspace")
@click.option("--no-wait", is_flag=True, help="Return as soon as the build is queued.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def stop(settings: Settings, workspace: str, no_wait: bool, yes: bool) -> None:
    """Stop a workspace. Its home directory stays."""
    client = settings.client()
    found = load_named(client, workspace)
    if found.latest_build.status == "stopped":
        note(f"Workspace {found.name} is stopped already.")
        return
    if settings.is_terminal and not yes:
        confirm(f"Stop workspace {found.name}?", default=True)
    if no_wait:
        refuse_busy(found)
        queue_build(client, found, CreateBuildRequest("stop", reason="cli"), "stopped")
        return
    stop_workspace(settings, client, found)
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
    request = prepare_build(client, found, start_request(found, "cli"), asks=asks, **parameters)
    if asks:
        confirm(f"Restart workspace {found.name}?", default=True)
    if found.latest_build.status != "stopped":
        stop_workspace(settings, client, found)
    run_start(settings, client, found, request)


@click.command("delete")
@click.argument("workspace")
@click.option("--orphan", is_flag=True, help="Forget the workspace without touching what Terraform made.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the build is queued.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, workspace: str, orphan: bool, no_wait: bool, yes: bool) -> None:
    """Delete a workspace and all that is in it."""
    client = settings.client()
    found = load_named(client, workspace)
    if found.latest_build.status == "deleting":
        follow_build(client, found.latest_build, is_verbose=settings.is_verbose)
        return
    question = f"Workspace {found.owner_name}/{found.name} and everything in it will be gone for good. Delete it?"
    if orphan:
        question = _explain_orphan(found)
    require_yes(question, yes=yes, is_terminal=settings.is_terminal)
    request = CreateBuildRequest("delete", orphan=orphan, reason="cli")
    if no_wait:
        refuse_busy(found)
        queue_build(client, found, request, "deleted")
        return
    finish_active(settings, client, found)
    build = workspaces.create_build(client, found.id, request)
    follow_build(client, build, is_verbose=settings.is_verbose)
    note(f"Workspace {found.name} is deleted.")


def _explain_orphan(workspace: Workspace) -> str:
    """What --orphan leaves behind, by name, and the question."""
    left = [
        f"  {resource.type}.{resource.name}"
        for resource in list_resources(workspace.latest_build)
        if resource.type not in DATA_ONLY
    ]
    lines = [
        f"Devyard would forget workspace {workspace.owner_name}/{workspace.name} without running Terraform.",
        "What Terraform made stays where it is, costs what it costs, and has to be removed by hand:",
        *(left or ["  (nothing that Devyard knows of)"]),
        "Forget it?",
    ]
    return "\n".join(lines)


def queue_build(client: Client, workspace: Workspace, request: CreateBuildRequest, outcome: str) -> None:
    """Queues a build and says how to follow it."""
    build = workspaces.create_build(client, workspace.id, request)
    warn_unmatched(build.matched_provisioners, build.job)
    label = f"{workspace.owner_name}/{workspace.name}"
    note(f"Workspace {workspace.name} is being {outcome}. Follow it with: devyard logs -f {label}")


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
    request = prepare_build(client, workspace, start_request(workspace, reason), asks=asks, **parameters)
    if no_wait:
        queue_build(client, workspace, request, "started")
        return
    run_start(settings, client, workspace, request)


def run_start(settings: Settings, client: Client, workspace: Workspace, request: CreateBuildRequest) -> None:
    """Starts, follows, waits for the agents. Raises CommandFailed."""
    workspace.latest_build = workspaces.create_build(client, workspace.id, request)
    finish_start(client, workspace, is_verbose=settings.is_verbose)
    note(f"Workspace {workspace.name} is running. Enter it with: devyard ssh {workspace.name}")


def stop_workspace(settings: Settings, client: Client, workspace: Workspace) -> None:
    """Stops and follows, after a build that is under way. Raises CommandFailed."""
    finish_active(settings, client, workspace)
    build = workspaces.create_build(client, workspace.id, CreateBuildRequest("stop", reason="cli"))
    follow_build(client, build, is_verbose=settings.is_verbose)


def finish_active(settings: Settings, client: Client, workspace: Workspace) -> None:
    """Lets a build that is under way end first, however it ends: the next one can't be queued beside it."""
    if workspace.latest_build.status not in BUSY:
        return
    note(f"Workspace {workspace.name} is {workspace.latest_build.status}; waiting for that to end.")
    try:
        follow_build(client, workspace.latest_build, is_verbose=settings.is_verbose)
    except (CommandFailed, NotFound) as error:
        if isinstance(error, CommandFailed) and error.status != 1:
            raise


def refuse_busy(workspace: Workspace) -> None:
    """Raises CommandFailed while a build is under way."""
    status = workspace.latest_build.status
    if status in BUSY:
        raise CommandFailed(
            f"Workspace {workspace.name} is {status}. Wait for that to end: devyard logs -f {workspace.name}\n"
            f"Or end it: devyard cancel {workspace.name}"
        )
