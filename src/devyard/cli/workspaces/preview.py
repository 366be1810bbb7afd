"""What a template would make, shown before the question whether to make it.

Called by create. A dry run on a provisioner: the plan's log is shown only when the plan fails, or with -v.
"""

import io
import sys
from collections.abc import Sequence

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import Followed, check_end, follow_job
from devyard.cli.output import note, plain, render_table
from devyard.cli.queueing import warn_unmatched
from devyard.sdk import dryruns
from devyard.sdk.client import Client
from devyard.wire.templates import DryRunRequest, ParameterValue, TemplateVersion
from devyard.wire.workspaces import WorkspaceResource


def show_plan(
    client: Client, version: TemplateVersion, name: str, values: list[ParameterValue], *, is_verbose: bool = False
) -> None:
    """Plans with these values and lists the resources on stderr. Raises CommandFailed when the plan fails."""
    note("Planning …")
    job = dryruns.create_dry_run(client, version.id, DryRunRequest(name, values))
    warn_unmatched(dryruns.get_matched(client, version.id, job.id), job)
    followed = Followed(
        f"/templateversions/{version.id}/dry-run/{job.id}/logs",
        lambda: dryruns.get_dry_run(client, version.id, job.id),
        f"The plan of version {version.name}",
        f"devyard provisioner jobs cancel {job.id}",
    )
    log = sys.stderr if is_verbose else io.StringIO()
    ended = follow_job(client, followed, log, is_verbose=is_verbose)
    try:
        check_end(ended, followed.label)
    except CommandFailed:
        if isinstance(log, io.StringIO):
            click.echo(log.getvalue(), err=True)
        raise
    show_resources(dryruns.list_resources(client, version.id, job.id))


def show_resources(resources: Sequence[WorkspaceResource]) -> None:
    """A table of resources and their agents on stderr."""
    rows = []
    for resource in resources:
        if resource.hide:
            continue
        cost = str(resource.daily_cost) if resource.daily_cost else ""
        rows.append([f"{resource.type}.{resource.name}", "", cost])
        for agent in resource.agents:
            where = f"{agent.operating_system}/{agent.architecture}"
            apps = ", ".join(plain(app.display_name or app.slug) for app in agent.apps if not app.hidden)
            rows.append([f"  agent {agent.name} ({where})", apps, ""])
    if rows:
        titles = ["will be made", "apps", "daily cost"]
        note("\n" + render_table(titles, rows, sys.stderr.isatty()))
