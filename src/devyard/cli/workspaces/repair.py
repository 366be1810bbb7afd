"""`devyard repair`: says what is wrong with a workspace and what would be done, and does it after a yes."""

from typing import get_args

import click
import msgspec

from devyard.cli.joblog import follow_build
from devyard.cli.output import note, plain, print_json
from devyard.cli.prompts import require_yes
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.sdk import repairs
from devyard.wire.enums import Transition
from devyard.wire.repair import RepairPlan, RepairRequest, RepairVersion


@click.command("repair")
@click.argument("workspace")
@click.option(
    "--transition",
    type=click.Choice(get_args(Transition)),
    help="What the workspace should come to; by default what its last build wanted.",
)
@click.option(
    "--version",
    type=click.Choice(get_args(RepairVersion)),
    help="The template version: the one that worked last, the template's active one, or the workspace's own.",
)
@click.option(
    "--forget",
    multiple=True,
    metavar="ADDRESS",
    help="Strike a resource that no longer exists from the record. Repeatable.",
)
@click.option(
    "--leave-resources",
    "leave",
    is_flag=True,
    help="With --transition delete: leave what Terraform made where it is.",
)
@click.option("--plan", "is_plan_only", is_flag=True, help="Only say what would be done.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format of --plan."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def repair(
    settings: Settings,
    workspace: str,
    transition: Transition | None,
    version: RepairVersion | None,
    forget: tuple[str, ...],
    leave: bool,
    is_plan_only: bool,
    output: str,
    yes: bool,
) -> None:
    """Bring a workspace back to a good state after a build that failed or was lost."""
    client = settings.client()
    found = load_named(client, workspace)
    wish = RepairRequest(plan_id="", transition=transition, version=version, forget=list(forget), leave=leave)
    plan = repairs.get_plan(client, found.id, wish)
    if is_plan_only and output == "json":
        print_json(msgspec.json.encode(plan))
        return
    for line in describe_plan(plan):
        click.echo(plain(line))
    if is_plan_only or not plan.steps:
        return
    require_yes("Do this?", yes=yes, is_terminal=settings.is_terminal)
    request = msgspec.structs.replace(wish, plan_id=plan.id, accepts_leaving=plan.needs_consent)
    build = repairs.repair(client, found.id, request)
    follow_build(client, build, is_verbose=settings.is_verbose)
    note(f"Workspace {found.name} is repaired.")


def describe_plan(plan: RepairPlan) -> list[str]:
    """The plan in lines: what is wrong, what will be done, what to look for."""
    lines = [plan.problem or "Nothing is wrong with this workspace."]
    if plan.steps:
        lines += ["", "What will be done:"]
        lines += [f"  {number}. {step.description}" for number, step in enumerate(plan.steps, start=1)]
    if plan.possible_orphans:
        lines += ["", "What may exist although it is not recorded:"]
        lines += [f"  - {name}" for name in plan.possible_orphans]
        lines.append(plan.orphans_advice)
    return lines
