"""`devyard show`: one workspace with its resources and agents."""

import click
import msgspec

from devyard.cli.output import ago, print_json, render_pairs, render_table, yes_no
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.wire.workspaces import Workspace, WorkspaceAgent, WorkspaceResource


@click.command("show")
@click.argument("workspace")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def show(settings: Settings, workspace: str, output: str) -> None:
    """Show a workspace's resources and agents."""
    found = load_named(settings.client(), workspace)
    if output == "json":
        print_json(msgspec.json.encode(found))
        return
    click.echo(render_pairs(_facts(found)), nl=False)
    resources: list[WorkspaceResource] = (
        found.latest_build.resources if isinstance(found.latest_build.resources, list) else []
    )
    rows = [row for resource in resources if not resource.hide for row in _rows(resource)]
    if rows:
        click.echo()
        click.echo(render_table(["resource", "status", "health", "version"], rows), nl=False)
    for resource in resources:
        for item in resource.metadata:
            if not item.sensitive and item.key and item.key != "type":
                click.echo(f"{resource.type}.{resource.name} {item.key}: {item.value}")


def _facts(workspace: Workspace) -> list[tuple[str, str]]:
    build = workspace.latest_build
    facts = [
        ("Workspace", f"{workspace.owner_name}/{workspace.name}"),
        (
            "Status",
            f"{build.status} (build {build.build_number}, {ago(build.created_at)}, by {build.initiator_name})",
        ),
        ("Template", f"{workspace.template_name} at {build.template_version_name}"),
        ("Outdated", yes_no(workspace.outdated)),
    ]
    if isinstance(build.job.error, str) and build.job.error:
        facts.append(("Error", build.job.error))
    if build.possible_orphans:
        facts.append(("May exist", ", ".join(build.possible_orphans)))
        facts.append(("What to do", f"devyard repair {workspace.name}"))
    return facts


def _rows(resource: WorkspaceResource) -> list[list[str]]:
    rows = [[f"{resource.type}.{resource.name}", "", "", ""]]
    rows += [_agent_row(agent) for agent in resource.agents]
    return rows


def _agent_row(agent: WorkspaceAgent) -> list[str]:
    health = "healthy" if agent.health.healthy else agent.health.reason or "unhealthy"
    status = agent.status if agent.status != "connected" else f"{agent.status}, {agent.lifecycle_state}"
    where = f"{agent.operating_system}/{agent.architecture}"
    return [f"  {agent.name} ({where})", status, health, agent.version]
