"""`devyard update`: a workspace moves to its template's active version, or another one, and starts."""

from typing import Any

import click

from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.create import choose_version
from devyard.cli.workspaces.parameters import build_parameter_options
from devyard.cli.workspaces.preparing import prepare_build
from devyard.cli.workspaces.targets import load_named
from devyard.cli.workspaces.transitions import queue_build, refuse_busy, run_start, stop_workspace
from devyard.sdk import templates
from devyard.sdk.client import Client
from devyard.wire.templates import TemplateVersion
from devyard.wire.workspaces import CreateBuildRequest, Workspace


@click.command("update")
@click.argument("workspace")
@click.option(
    "--template-version",
    "version_name",
    default="",
    envvar=variables("TEMPLATE_VERSION"),
    help="To that version instead of the active one.",
)
@build_parameter_options
@click.option("--no-wait", is_flag=True, help="Return as soon as the build is queued; needs a stopped workspace.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.pass_obj
def update(
    settings: Settings, /, workspace: str, version_name: str, no_wait: bool, yes: bool, **parameters: Any
) -> None:
    """Move a workspace to its template's active version and start it.

    Values stay; you are asked only for parameters that are new or whose value is no longer valid.
    """
    client = settings.client()
    found = load_named(client, workspace)
    version = _choose(client, found, version_name)
    is_there = version.id == found.latest_build.template_version_id
    if is_there and not any(parameters.values()):
        note(f"Workspace {found.name} is up to date: it has version {version.name}.")
        return
    refuse_busy(found)
    asks = settings.is_terminal and not yes
    if not is_there:
        note(f"Updating {found.name} from {found.latest_build.template_version_name} to {version.name}")
        if version.message:
            note(f"  {version.message}")
    request = CreateBuildRequest("start", template_version_id=version.id, reason="cli")
    request = prepare_build(client, found, request, asks=asks, **parameters)
    is_running = found.latest_build.status == "running"
    if is_running:
        if asks:
            confirm(f"Workspace {found.name} is running and will be stopped for this. Go on?", default=True)
        stop_workspace(settings, client, found)
    if no_wait:
        queue_build(client, found, request, "started")
        return
    run_start(settings, client, found, request)


def _choose(client: Client, workspace: Workspace, name: str) -> TemplateVersion:
    if not name:
        return templates.get_version(client, workspace.template_active_version_id)
    return choose_version(client, templates.get_template(client, workspace.template_id), name)
