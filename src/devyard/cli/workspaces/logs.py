"""`devyard logs`: what the last build and the agents said, and what they say now."""

import sys
import time
from threading import Thread

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import ENDED, JobLogPrinter, print_job_log
from devyard.cli.output import plain
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import list_agents, load_target, parse_target
from devyard.sdk import agents, builds, workspaces
from devyard.sdk.client import Client
from devyard.sdk.logstream import follow_agent_log, follow_job_log
from devyard.wire.errors import AppError, NotFound
from devyard.wire.workspaces import AgentLog, Workspace, WorkspaceAgent, WorkspaceBuild


@click.command("logs")
@click.argument("workspace")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("-b", "--build", "number", type=int, default=0, help="Of that build instead of the last.")
@click.pass_obj
def logs(settings: Settings, workspace: str, follow: bool, number: int) -> None:
    """Show a workspace's build and agent logs."""
    client = settings.client()
    target = parse_target(workspace)
    found = load_target(client, target)
    build = _choose_build(client, found, number)
    if follow and build.job.status not in ENDED:
        _follow_build(client, build, is_verbose=settings.is_verbose)
        found = workspaces.get_workspace(client, found.id)
        build = found.latest_build
    else:
        print_job_log(builds.list_logs(client, build.id), sys.stdout, is_verbose=settings.is_verbose)
    chosen = [agent for agent in list_agents(build) if target.agent in ("", agent.name)]
    if target.agent and not chosen:
        raise CommandFailed(f"Workspace {found.name!r} has no agent {target.agent!r}.")
    if follow and build.id == found.latest_build.id and build.transition == "start":
        _follow_agents(client, chosen)
        return
    for agent in chosen:
        for line in agents.list_logs(client, agent.id):
            _print_agent_line(agent, line)


def _choose_build(client: Client, workspace: Workspace, number: int) -> WorkspaceBuild:
    if not number:
        return workspace.latest_build
    try:
        return builds.load_build(client, workspace.owner_name, workspace.name, number)
    except NotFound:
        raise CommandFailed(f"Workspace {workspace.name!r} has no build {number}.") from None


def _follow_build(client: Client, build: WorkspaceBuild, *, is_verbose: bool) -> None:
    printer = JobLogPrinter(sys.stdout, is_verbose=is_verbose)

    def is_over() -> bool:
        return builds.get_build(client, build.id).job.status in ENDED

    for line in follow_job_log(client, f"/workspacebuilds/{build.id}/logs", is_over):
        printer.line(line)
    printer.end()


def _follow_agents(client: Client, chosen: list[WorkspaceAgent]) -> None:
    """Until Ctrl-C, or until every agent has gone."""
    threads = [Thread(target=_follow_agent, args=(client.twin(), agent), daemon=True) for agent in chosen]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)


def _follow_agent(client: Client, agent: WorkspaceAgent) -> None:
    checked_at = time.monotonic()

    def is_over() -> bool:
        nonlocal checked_at
        if time.monotonic() - checked_at < 5:
            return False
        checked_at = time.monotonic()
        return agents.get_agent(client, agent.id).lifecycle_state in ("off", "shutdown_error", "shutdown_timeout")

    try:
        for line in follow_agent_log(client, f"/workspaceagents/{agent.id}/logs", is_over):
            _print_agent_line(agent, line)
    except AppError as error:
        click.echo(f"[{agent.name}] {error}", err=True)


def _print_agent_line(agent: WorkspaceAgent, line: AgentLog) -> None:
    click.echo(f"{line.created_at.astimezone().strftime('%H:%M:%S')} [{agent.name}] {plain(line.output)}")
