"""`devyard cancel`: ends the build that a workspace waits for."""

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import ENDED, follow_build
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.sdk import builds, workspaces
from devyard.wire.errors import Conflict, Forbidden, PreconditionFailed


@click.command("cancel")
@click.argument("workspace")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is asked to end.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cancel(settings: Settings, workspace: str, no_wait: bool, yes: bool) -> None:
    """Cancel a workspace's build: one that waits ends at once, one that runs is interrupted."""
    client = settings.client()
    found = load_named(client, workspace)
    build = found.latest_build
    label = f"Build {build.build_number} of {found.owner_name}/{found.name}"
    if build.job.status in ENDED:
        raise CommandFailed(f"{label} can't be canceled: it has ended already ({build.job.status}).")
    if settings.is_terminal and not yes:
        confirm(f"Cancel the {build.transition} of {found.name}? What Terraform has made by then stays.")
    if build.job.status != "canceling":
        try:
            builds.cancel_build(client, build.id)
        except Forbidden:
            raise CommandFailed(
                f"{label} can't be canceled: its template does not let users cancel builds. Ask an administrator."
            ) from None
        except (Conflict, PreconditionFailed):
            if builds.get_build(client, build.id).job.status not in ENDED:
                raise
    if no_wait:
        note(f"{label} is being canceled.")
        return
    try:
        follow_build(client, build, is_verbose=settings.is_verbose)
    except CommandFailed:
        ended = workspaces.get_workspace(client, found.id).latest_build
        if ended.job.status != "canceled":
            raise
        note(f"{label} is canceled. Start the workspace again with: devyard start {found.name}")
    else:
        note(f"{label} had ended before it could be canceled.")
