"""Routes of agents: what clients read about one, how they reach it, and what the workspace itself calls.

Routes under `me` are signed in by the agent's token (`permission: agent`), the others by a user's session.
"""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from litestar import Router, WebSocket, get, patch, post, websocket
from litestar.di import Provide
from litestar.response import ServerSentEvent

from devyard.server.access.rules import Actor
from devyard.server.agents import actions, queries
from devyard.server.agents.hub import AgentHub
from devyard.server.agents.rules import TokenHolder
from devyard.server.agents.views import agent_view
from devyard.server.http.routing import API_PATH
from devyard.server.http.streams import send_values, stream_events
from devyard.server.services import Services
from devyard.wire import agentlink, errors
from devyard.wire.agents import AgentConnectionInfo, AgentGitSSHKey, PatchAgentLogsRequest, PostLogSourceRequest
from devyard.wire.workspaces import AgentLog, AgentLogSource, WorkspaceAgent

READ = {"permission": "workspace:read"}
CONNECT = {"permission": "workspace:ssh"}
AGENT = {"permission": "agent"}
ONE = "/workspaceagents/{agent_id:uuid}"
MAX_LOGS = 10_000


@get(ONE, opt=READ)
async def get_agent(services: Services, actor: Actor, agent_id: UUID) -> WorkspaceAgent:
    """One agent."""
    place = await actions.load_agent(services, actor, agent_id, "workspace:read")
    return agent_view(
        place.agent,
        workspace_name=place.workspace_name,
        owner_name=place.owner_name,
        now=services.now(),
    )


@get("/workspaceagents/connection", opt={"permission": "signed_in"})
async def get_connection_defaults(services: Services, actor: Actor) -> AgentConnectionInfo:
    """What is the same for the connections to all agents."""
    return actions.decide_connection(services, actor, None)


@get(f"{ONE}/connection", opt=CONNECT)
async def get_connection(services: Services, actor: Actor, agent_id: UUID) -> AgentConnectionInfo:
    """How to reach an agent; the tickets open streams for a minute."""
    place = await actions.load_agent(services, actor, agent_id, "workspace:ssh")
    return actions.decide_connection(services, actor, place)


@get([f"{ONE}/logs", f"{ONE}/startup-logs"], opt=READ)
async def get_logs(
    services: Services, actor: Actor, agent_id: UUID, after: int = 0, before: int = 0
) -> list[AgentLog]:
    """The agent's log as it is now."""
    await actions.load_agent(services, actor, agent_id, "workspace:read")
    return await queries.list_logs(services.pool, agent_id, after=after, before=before or None, limit=MAX_LOGS)


@websocket([f"{ONE}/logs", f"{ONE}/startup-logs"], opt=READ)
async def follow_logs(
    socket: WebSocket[Any, Any, Any], services: Services, actor: Actor, agent_id: UUID, after: int = 0
) -> None:
    """The agent's log as it grows: each message is an array of lines."""
    await actions.load_agent(services, actor, agent_id, "workspace:read")
    await send_values(socket, actions.follow_logs(services, agent_id, after))


@get(f"{ONE}/watch-metadata", opt=READ)
async def watch_metadata(services: Services, actor: Actor, agent_id: UUID) -> ServerSentEvent:
    """The agent's measured values as server-sent events, at most one a second."""
    await actions.load_agent(services, actor, agent_id, "workspace:read")
    return stream_events(actions.watch_metadata(services, agent_id))


@websocket(f"{ONE}/watch-metadata-ws", opt=READ)
async def watch_metadata_ws(
    socket: WebSocket[Any, Any, Any], services: Services, actor: Actor, agent_id: UUID
) -> None:
    """The same as messages `{type, data}`."""
    await actions.load_agent(services, actor, agent_id, "workspace:read")
    await send_values(socket, _typed(actions.watch_metadata(services, agent_id)))


@websocket(agentlink.CONNECT_PATH.removeprefix(API_PATH), opt=AGENT)
async def connect(socket: WebSocket[Any, Any, Any], principal: TokenHolder, hub: AgentHub) -> None:
    """The agent's control connection."""
    await hub.serve(socket, principal)


@patch("/workspaceagents/me/logs", opt=AGENT)
async def patch_logs(principal: TokenHolder, hub: AgentHub, data: PatchAgentLogsRequest) -> errors.Response:
    """Lines that something in the workspace reports."""
    await actions.add_logs(hub.store, principal, data)
    return errors.Response(message="The log lines are stored.")


@post("/workspaceagents/me/log-source", opt=AGENT, status_code=201)
async def post_log_source(
    services: Services, principal: TokenHolder, data: PostLogSourceRequest
) -> AgentLogSource:
    """A log source, made or renamed."""
    row = await actions.set_log_source(services, principal, data)
    return AgentLogSource(
        workspace_agent_id=principal.agent_id,
        id=row.id,
        created_at=row.created_at,
        display_name=row.display_name,
        icon=row.icon,
    )


@get("/workspaceagents/me/gitsshkey", opt=AGENT)
async def get_git_key(services: Services, principal: TokenHolder) -> AgentGitSSHKey:
    """The owner's key pair, for git inside the workspace."""
    return await actions.load_git_key(services, principal)


@get(["/workspaceagents/me/external-auth", "/workspaceagents/me/gitauth"], opt=AGENT)
async def get_external_auth(principal: TokenHolder) -> errors.Response:
    """Tokens of other services: this server knows none."""
    raise errors.NotFound("No external authentication provider is set up on this server.")


async def _typed(events: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    async for kind, value in events:
        yield {"type": kind, "data": value}


def make_router(hub: AgentHub) -> Router:
    """The routes with what they share."""

    async def provide_hub() -> AgentHub:
        return hub

    return Router(
        "/",
        dependencies={"hub": Provide(provide_hub, use_cache=True)},
        route_handlers=[
            get_agent,
            get_connection_defaults,
            get_connection,
            get_logs,
            follow_logs,
            watch_metadata,
            watch_metadata_ws,
            connect,
            patch_logs,
            post_log_source,
            get_git_key,
            get_external_auth,
        ],
    )
