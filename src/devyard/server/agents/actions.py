"""What people and workspace scripts do with agents over REST: read logs and metadata, get tickets, add log lines.

Called by the agents' routes. Log lines take the same way as the control link's: through the report store.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from devyard.server.access.rules import Actor, check
from devyard.server.agents import queries
from devyard.server.agents.link import aware
from devyard.server.agents.manifests import make_client_relays
from devyard.server.agents.queries import AgentPlace, LogSourceRow
from devyard.server.agents.rules import TokenHolder
from devyard.server.agents.store import ReportStore, cut
from devyard.server.agents.views import metadata_views
from devyard.server.db.wakeups import wait_for
from devyard.server.services import Services
from devyard.wire.agents import AgentConnectionInfo, AgentGitSSHKey, PatchAgentLogsRequest, PostLogSourceRequest
from devyard.wire.errors import Invalid, NotFound, ValidationError
from devyard.wire.streams import RelayAccess
from devyard.wire.workspaces import AgentLog

TICKET_S = 60
HOSTNAME_SUFFIX = "devyard"
MAX_LINES = 1000
MAX_LOG_SOURCES = 100
LOG_BATCH = 500
LOG_POLL_S = 3.0
METADATA_PERIOD_S = 1.0
METADATA_POLL_S = 10.0


async def load_agent(services: Services, actor: Actor, agent_id: UUID, permission: str) -> AgentPlace:
    """An agent that the actor may see, and do `permission` with. Raises NotFound, Forbidden."""
    place = await queries.get_agent(services.pool, agent_id)
    if place is None:
        raise NotFound
    check(actor, permission, owner_id=place.owner_id, organization_id=place.organization_id)
    return place


def decide_connection(services: Services, actor: Actor, place: AgentPlace | None) -> AgentConnectionInfo:
    """How to reach an agent, or (None) what is the same for all: relays without a ticket."""
    relays = [RelayAccess(url=services.settings.access_url.rstrip("/"), ticket="", expires_at=0)]
    if place is not None:
        expires_at = int(services.now().timestamp()) + TICKET_S
        relays = make_client_relays(services, place.agent.id, place.workspace_id, actor.user_id, expires_at)
    return AgentConnectionInfo(
        disable_direct_connections=True,
        hostname_suffix=HOSTNAME_SUFFIX,
        relays=relays,
        host_keys=place.host_keys if place else [],
    )


async def follow_logs(services: Services, agent_id: UUID, after: int) -> AsyncIterator[list[AgentLog]]:
    """Lines after `after` in arrays as they come; the first one comes at once, even if it is empty."""
    is_first = True
    with services.wakeups.waiter(f"agent-logs:{agent_id}") as event:
        while True:
            event.clear()
            while lines := await queries.list_logs(services.pool, agent_id, after=after, limit=LOG_BATCH):
                is_first = False
                after = lines[-1].id
                yield lines
            if is_first:
                is_first = False
                yield []
            await wait_for(event, LOG_POLL_S)


async def watch_metadata(services: Services, agent_id: UUID) -> AsyncIterator[tuple[str, Any]]:
    """Events (type, value): all of an agent's values whenever one is new, at most once a second; else pings."""
    sent: list[queries.MetadataRow] | None = None
    with services.wakeups.waiter(f"agent-metadata:{agent_id}") as event:
        while True:
            event.clear()
            rows = await queries.list_metadata(services.pool, agent_id)
            if rows != sent:
                sent = rows
                yield "data", metadata_views(rows, services.now())
            else:
                yield "ping", None
            await asyncio.sleep(METADATA_PERIOD_S)
            await wait_for(event, METADATA_POLL_S)


async def add_logs(store: ReportStore, holder: TokenHolder, request: PatchAgentLogsRequest) -> None:
    """Store lines that a script in the workspace reports. Raises Invalid: too many in one request."""
    if len(request.logs) > MAX_LINES:
        detail = f"At most {MAX_LINES} lines in one request."
        raise Invalid(detail, validations=[ValidationError("logs", detail)])
    await store.wait_for_room()
    for line in request.logs:
        at = aware(line.created_at)
        store.add_log(holder.agent_id, request.log_source_id, at, line.level, line.output)
    if request.logs:
        await store.wait_stored()


async def set_log_source(services: Services, holder: TokenHolder, request: PostLogSourceRequest) -> LogSourceRow:
    """Make or rename a log source of an agent. Raises Invalid: it has too many."""
    row = await queries.upsert_log_source(
        services.pool,
        holder.agent_id,
        request.id,
        cut(request.display_name, 127),
        cut(request.icon, 2048),
        limit=MAX_LOG_SOURCES,
    )
    if row is None:
        detail = f"An agent has at most {MAX_LOG_SOURCES} log sources."
        raise Invalid(detail, validations=[ValidationError("id", detail)])
    return row


async def load_git_key(services: Services, holder: TokenHolder) -> AgentGitSSHKey:
    """The key pair of the workspace's owner. Raises NotFound: there is none."""
    key = await queries.get_git_key(services.pool, holder.workspace_id)
    if key is None:
        raise NotFound("The workspace's owner has no SSH key for git.")
    return AgentGitSSHKey(public_key=key[0], private_key=key[1])
