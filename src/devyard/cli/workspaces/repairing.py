"""`devyard repair`: what a crash or a broken template left of a workspace, and the way back to one that builds.

The server decides what is wrong and what to do; this command shows it and asks before anything is done.
"""

from collections.abc import Callable
from typing import get_args

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_build
from devyard.cli.output import note, plain, print_json, to_json
from devyard.cli.prompts import require_yes
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import load_named
from devyard.cli.workspaces.waiting import wait_for_agents
from devyard.sdk import repairs, workspaces
from devyard.sdk.client import Client
from devyard.sdk.repairs import Wishes
from devyard.wire.enums import Transition
from devyard.wire.errors import Conflict, PreconditionFailed
from devyard.wire.repair import RepairPlan, RepairVersion
from devyard.wire.workspaces import Workspace, WorkspaceBuild

OPTION_OF = {"transition": "--to", "version": "--version", "forget": "--forget", "leave": "--leave"}


@click.command("repair")
@click.argument("workspace")
@click.option(
    "--to", "transition", type=click.Choice(get_args(Transition)), help="What the workspace shall do then."
)
@click.option("--version", type=click.Choice(get_args(RepairVersion)), help="With which version of its template.")
@click.option("--forget", multiple=True, metavar="ADDRESS", help="A resource to drop from the state; repeatable.")
@click.option("--leave", is_flag=True, help="Leave resources behind that can't be removed; names them first.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what is wrong and what would be done.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output of --dry-run.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; with --leave also leaves resources behind.")
@click.pass_obj
def repair(
    settings: Settings,
    workspace: str,
    transition: Transition | None,
    version: RepairVersion | None,
    forget: tuple[str, ...],
    leave: bool,
    dry_run: bool,
    output: str,
    yes: bool,
) -> None:
    """Say what is wrong with a workspace, what would be done about it, and do that after a yes."""
    client = settings.client()
    found = load_named(client, workspace)
    wishes = Wishes(transition, version, forget, leave)
    plan = repairs.get_plan(client, found.id, wishes)
    if output == "json":
        print_json(to_json(plan))
    else:
        show_plan(plan, note if not dry_run else click.echo)
    if dry_run or not plan.steps:
        return
    if plan.needs_consent and not yes:
        require_yes(
            "Resources would be left behind for you to remove. Go on?", yes=False, is_terminal=settings.is_terminal
        )
    elif plan.needs_consent and not (leave or forget):
        raise CommandFailed("Resources would be left behind: say that you want this with --leave --yes.")
    else:
        require_yes(f"Repair {found.name} in this way?", yes=yes, is_terminal=settings.is_terminal)
    build = _carry_out(client, found, plan, wishes)
    follow_build(client, build, is_verbose=settings.is_verbose)
    if build.transition == "start":
        wait_for_agents(client, workspaces.get_workspace(client, found.id))
    note(f"Workspace {found.name} is repaired.")


def show_plan(plan: RepairPlan, say: Callable[[str], object]) -> None:
    """The plan in sentences."""
    say(plain(plan.problem) if plan.problem else "Nothing is wrong.")
    if plan.possible_orphans:
        say("\nThese may exist without being in the state:")
        for name in plan.possible_orphans:
            say(f"  {plain(name)}")
        if plan.orphans_advice:
            say(f"  {plain(plan.orphans_advice)}")
    if plan.steps:
        say("\nWhat will be done:")
        for number, step in enumerate(plan.steps, 1):
            say(f"  {number}. {plain(step.description)}")
    if plan.choices:
        say("\nWhat else you could ask for:")
        for choice in plan.choices:
            say(f"  {_option(choice.parameter, choice.value)}  {plain(choice.description)}")


def _option(parameter: str, value: str) -> str:
    name = OPTION_OF.get(parameter, f"--{parameter}")
    return name if parameter == "leave" else f"{name} {plain(value)}"


def _carry_out(client: Client, workspace: Workspace, plan: RepairPlan, wishes: Wishes) -> WorkspaceBuild:
    try:
        return repairs.repair(client, workspace.id, plan.id, wishes, accepts_leaving=plan.needs_consent)
    except (Conflict, PreconditionFailed) as error:
        raise CommandFailed(f"{error}\nLook again at what is wrong: devyard repair {workspace.name}") from None
