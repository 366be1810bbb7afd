"""Which workspace and agent a word on the command line means.

Called by every command about one workspace. Forms: `WS`, `OWNER/WS`, `WS.AGENT`, and as SSH host names
`OWNER--WS--AGENT`, `AGENT.WS.OWNER` with the deployment's prefix or suffix around.
"""

import re
from typing import NamedTuple

from devyard.cli.failures import CommandFailed
from devyard.sdk import workspaces
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.workspaces import Workspace, WorkspaceAgent, WorkspaceBuild, WorkspaceResource

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")


class Target(NamedTuple):
    """A workspace by names; `agent` is empty for the only one."""

    owner: str
    workspace: str
    agent: str = ""

    @property
    def label(self) -> str:
        """As messages name it."""
        return self.workspace if self.owner == "me" else f"{self.owner}/{self.workspace}"


def parse_target(text: str) -> Target:
    """`WS`, `OWNER/WS`, `WS.AGENT`, `OWNER/WS.AGENT`, `OWNER--WS--AGENT`. Raises CommandFailed."""
    if "--" in text and "/" not in text:
        owner, _, rest = text.partition("--")
        workspace, _, agent = rest.replace("--", ".", 1).partition(".")
        return _checked(Target(owner, workspace, agent), text)
    owner, slash, rest = text.rpartition("/")
    workspace, _, agent = rest.partition(".")
    return _checked(Target(owner if slash else "me", workspace, agent), text)


def parse_host(text: str, prefix: str, suffix: str) -> Target:
    """An SSH host name as `config-ssh` and editors write them. Raises CommandFailed."""
    suffix = suffix.lstrip(".")
    if suffix and text.endswith(f".{suffix}"):
        rest = text.removesuffix(f".{suffix}")
        parts = rest.split(".")
        if len(parts) == 3:
            return _checked(Target(parts[2], parts[1], parts[0]), text)
        return parse_target(rest)
    return parse_target(text.removeprefix(prefix) if prefix else text)


def load_target(client: Client, target: Target) -> Workspace:
    """The workspace. Raises CommandFailed that says where to look."""
    try:
        return workspaces.load_workspace(client, target.owner, target.workspace)
    except NotFound:
        near = _hint_workspace(client, target)
        raise CommandFailed(
            f"There is no workspace {target.label!r} that you may see.{near} List yours with: devyard list"
        ) from None


def _hint_workspace(client: Client, target: Target) -> str:
    from devyard.cli.nearby import hint_nearest
    from devyard.wire.errors import AppError

    try:
        found = workspaces.list_workspaces(client, f"owner:{target.owner}", limit=200).workspaces
    except AppError:  # the hint is a courtesy; what failed is said without it
        return ""
    prefix = "" if target.owner == "me" else f"{target.owner}/"
    return hint_nearest(target.label, [prefix + workspace.name for workspace in found])


def load_named(client: Client, text: str) -> Workspace:
    """The workspace that a command line names."""
    return load_target(client, parse_target(text))


def list_agents(build: WorkspaceBuild) -> list[WorkspaceAgent]:
    """All agents of a build, in order."""
    return [agent for resource in list_resources(build) for agent in resource.agents]


def list_resources(build: WorkspaceBuild) -> list[WorkspaceResource]:
    """What Terraform made in a build."""
    return build.resources if isinstance(build.resources, list) else []


def choose_agent(workspace: Workspace, name: str) -> WorkspaceAgent:
    """The agent that is meant. Raises CommandFailed when there is none, or several and no name."""
    agents = list_agents(workspace.latest_build)
    if not agents:
        raise CommandFailed(f"Workspace {workspace.name!r} has no agent: its template declares none.")
    if name:
        for agent in agents:
            if agent.name == name:
                return agent
        raise CommandFailed(f"Workspace {workspace.name!r} has no agent {name!r}; it has: {_names(agents)}.")
    if len(agents) > 1:
        first = f"{workspace.name}.{agents[0].name}"
        raise CommandFailed(
            f"Workspace {workspace.name!r} has several agents: {_names(agents)}. Say which: {first}"
        )
    return agents[0]


def _names(agents: list[WorkspaceAgent]) -> str:
    return ", ".join(agent.name for agent in agents)


def _checked(target: Target, text: str) -> Target:
    for part in (target.owner, target.workspace, target.agent or "x"):
        if not _NAME.match(part):
            raise CommandFailed(
                f"{text!r} names no workspace; write WORKSPACE, OWNER/WORKSPACE or WORKSPACE.AGENT."
            )
    return target
