"""From whatever state a workspace is in to an agent that takes connections, telling the person meanwhile.

Called by create, start, ssh and the other commands that connect. Everything said here goes to stderr: stdout may
be an SSH stream.
"""

import sys
import time
from typing import Literal

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note, plain
from devyard.cli.workspaces.targets import list_agents
from devyard.sdk import agents, workspaces
from devyard.sdk.client import Client
from devyard.wire.enums import BuildReason
from devyard.wire.errors import Conflict
from devyard.wire.workspaces import CreateBuildRequest, Workspace, WorkspaceAgent

WaitMode = Literal["yes", "no", "auto"]
STARTED = frozenset({"ready", "start_error", "start_timeout"})
DEFAULT_CONNECT_S = 120
_PAUSES_S = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5)


def ensure_running(
    client: Client, workspace: Workspace, *, starts: bool, reason: BuildReason = "ssh_connection"
) -> Workspace:
    """The workspace with a finished start build, started if need be. Raises CommandFailed."""
    for _ in range(8):
        build = workspace.latest_build
        if build.status == "running":
            return workspace
        if build.status in ("deleting", "deleted"):
            raise CommandFailed(f"Workspace {workspace.name!r} has been deleted.")
        if build.status in ("pending", "starting", "stopping", "canceling"):
            _follow_to_stderr(client, workspace, must_succeed=build.transition == "start")
        elif not starts:
            raise CommandFailed(_explain_rest(workspace))
        else:
            workspace = _start(client, workspace, reason)
            continue
        workspace = workspaces.get_workspace(client, workspace.id)
    raise CommandFailed(
        f"Workspace {workspace.name!r} does not come to rest: it is {workspace.latest_build.status}."
    )


def _explain_rest(workspace: Workspace) -> str:
    name, build = workspace.name, workspace.latest_build
    again = f"Start it with: devyard start {name}"
    if build.status == "failed":
        return f"The last build of workspace {name!r} failed; its log: devyard logs {name}\n{again}"
    if build.status == "canceled":
        return f"The last build of workspace {name!r} was canceled. {again}"
    return f"Workspace {name!r} is {build.status}. {again}"


def start_request(workspace: Workspace, reason: BuildReason) -> CreateBuildRequest:
    """A start build; of the active version where the template or the owner wants that."""
    request = CreateBuildRequest("start", reason=reason)
    if workspace.template_require_active_version or workspace.automatic_updates == "always":
        request.template_version_id = workspace.template_active_version_id
    return request


def _start(client: Client, workspace: Workspace, reason: BuildReason) -> Workspace:
    note(f"Starting workspace {workspace.name} …")
    try:
        build = workspaces.create_build(client, workspace.id, start_request(workspace, reason))
    except Conflict:  # somebody else was faster: look again
        return workspaces.get_workspace(client, workspace.id)
    from devyard.cli.joblog import follow_build

    follow_build(client, build, stream=sys.stderr)
    return workspaces.get_workspace(client, workspace.id)


def _follow_to_stderr(client: Client, workspace: Workspace, *, must_succeed: bool) -> None:
    from devyard.cli.joblog import follow_build

    try:
        follow_build(client, workspace.latest_build, stream=sys.stderr)
    except CommandFailed as failed:
        if must_succeed or failed.status != 1:
            raise


def wait_for_agent(client: Client, agent: WorkspaceAgent, mode: WaitMode = "auto") -> WorkspaceAgent:
    """The agent once it is connected and, where its template wants that, its startup scripts are through.

    Raises CommandFailed when it does not connect in the time its template gives.
    """
    agent = _wait_connected(client, agent)
    waits = mode == "yes" or (mode == "auto" and agent.startup_script_behavior == "blocking")
    if not waits or agent.lifecycle_state in STARTED:
        _warn(agent)
        return agent
    agent = _follow_startup(client, agent)
    _warn(agent)
    return agent


def wait_for_agents(client: Client, workspace: Workspace) -> None:
    """Until every agent of a workspace has connected. Raises CommandFailed."""
    for agent in list_agents(workspace.latest_build):
        _wait_connected(client, agent)


def _wait_connected(client: Client, agent: WorkspaceAgent) -> WorkspaceAgent:
    began = time.monotonic()
    patience_s = agent.connection_timeout_seconds or DEFAULT_CONNECT_S
    has_told = False
    for attempt in range(100_000):
        if agent.status == "connected":
            return agent
        waited = time.monotonic() - began
        if waited > patience_s:
            raise CommandFailed(_explain_absence(agent, patience_s))
        if waited > 1 and not has_told:
            note(f"Waiting for agent {agent.name} to connect …")
            has_told = True
        time.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
        agent = agents.get_agent(client, agent.id)
    raise CommandFailed(_explain_absence(agent, patience_s))


def _explain_absence(agent: WorkspaceAgent, patience_s: int) -> str:
    last = "has not connected" if agent.status != "disconnected" else "has lost its connection and not come back"
    where = agent.troubleshooting_url or "its log in the workspace, /tmp/devyard-agent.log"
    return f"Agent {agent.name} {last} within {patience_s} s. See {where}, or restart the workspace."


def _follow_startup(client: Client, agent: WorkspaceAgent) -> WorkspaceAgent:
    from devyard.sdk.logstream import follow_agent_log

    current = agent

    def is_over() -> bool:
        nonlocal current
        current = agents.get_agent(client, agent.id)
        return current.lifecycle_state in STARTED or current.status != "connected"

    note("==> Startup scripts (Ctrl-C leaves; they go on)")
    for line in follow_agent_log(client, f"/workspaceagents/{agent.id}/logs", is_over):
        note(f"    {plain(line.output)}")
    return current


def _warn(agent: WorkspaceAgent) -> None:
    if agent.lifecycle_state == "start_error":
        note("Note: a startup script failed; the workspace may be incomplete. See: devyard logs WORKSPACE")
    elif agent.lifecycle_state == "start_timeout":
        note("Note: a startup script takes longer than its template allows; it goes on.")
