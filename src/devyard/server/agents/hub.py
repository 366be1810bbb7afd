"""All agents that are connected to this process: their store, their tickets, their end.

Built once by app.py. Three loops: reports are stored, heartbeats say which connections live (and find those that
another process has replaced), departures follow newer builds. Invariant: nothing here is the truth; a process
that dies leaves rows that read as disconnected within AWAY_AFTER_S.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any
from uuid import UUID

import structlog
from litestar import WebSocket
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType

from devyard.server.agents import queries, store_queries
from devyard.server.agents.admission import Admissions
from devyard.server.agents.link import GOING, REDIAL, REPLACED, AgentConnection
from devyard.server.agents.manifests import make_manifest, make_relays
from devyard.server.agents.rules import TokenHolder, decide_departure
from devyard.server.agents.store import ReportStore
from devyard.server.db.wakeups import wait_for
from devyard.server.http.signin import Presented
from devyard.server.services import Services
from devyard.wire import agentlink
from devyard.wire.errors import NotFound, Unauthenticated

log = structlog.get_logger("agents")

HEARTBEAT_S = 10.0
TICKET_S = 3600
REFRESH_BEFORE_S = 900
DEPARTURE_POLL_S = 10.0
DEPARTURE_PAUSE_S = 0.2
CLOSE_S = 5.0


class AgentHub:
    """The process's agents, as an async context."""

    def __init__(self, services: Services, *, hold_s: float = 60.0, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.services = services
        self.store = ReportStore(services.pool, services.now)
        self.admissions = Admissions(services, hold_s=hold_s)
        self._heartbeat_s = heartbeat_s
        self._connections: dict[UUID, AgentConnection] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "AgentHub":
        loops: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("store", self.store.run),
            ("admissions", self.admissions.run),
            ("heartbeats", self._run_heartbeats),
            ("departures", self._run_departures),
        ]
        for name, loop in loops:
            self._tasks.append(asyncio.create_task(_supervise(name, loop), name=f"agents {name}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in list(self._connections.values()):
            connection.end(GOING, "the server restarts")
            self.store.add_disconnected(connection.agent_id, connection.workspace_id, connection.id)
        self.store.stop()
        storing, *others = self._tasks
        await asyncio.wait([storing], timeout=CLOSE_S)
        for task in (storing, *others):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def count(self) -> int:
        """How many agents are connected here."""
        return len(self._connections)

    async def authenticate(
        self, connection: ASGIConnection[Any, Any, Any, Any], _: Services, presented: Presented | None
    ) -> TokenHolder:
        """The guard's authenticator of agents: only the control connection may wait for its build."""
        if presented is None or not presented.text:
            raise Unauthenticated("An agent signs in with its token in the session header.")
        return await self.admissions.admit(
            presented.text, can_wait=connection.scope["type"] == ScopeType.WEBSOCKET
        )

    async def serve(self, socket: WebSocket[Any, Any, Any], holder: TokenHolder) -> None:
        """Serve an admitted agent's WebSocket to its end."""
        row = await queries.get_manifest(self.services.pool, holder.agent_id)
        if row is None:
            raise NotFound("The agent is gone.")
        await socket.accept()
        connection = AgentConnection(socket, row, self.store, self.services.now)
        expires_at = self._decide_ticket_end()
        connection.tickets_expire_at = expires_at
        connection.send(make_manifest(self.services, row, expires_at))
        self._replace(connection)
        self.store.add_connected(connection.agent_id, connection.workspace_id, connection.id)
        try:
            await connection.run()
        finally:
            if self._connections.get(connection.agent_id) is connection:
                del self._connections[connection.agent_id]
            self.store.add_disconnected(connection.agent_id, connection.workspace_id, connection.id)

    def _replace(self, connection: AgentConnection) -> None:
        old = self._connections.get(connection.agent_id)
        if old is not None:
            old.end(REPLACED, "another connection with this token has taken over")
        self._connections[connection.agent_id] = connection

    async def beat(self) -> None:
        """One heartbeat for all connections: closes those that count no more, renews tickets near their end."""
        connections = list(self._connections.values())
        if not connections:
            return
        now = self.services.now()
        await self.store.wait_stored()
        alive = await store_queries.store_heartbeats(
            self.services.pool, [c.agent_id for c in connections], [c.id for c in connections], now
        )
        for connection in connections:
            if connection.agent_id not in alive:
                connection.end(REPLACED, "another connection with this token has taken over")
            elif connection.tickets_expire_at - now.timestamp() < REFRESH_BEFORE_S:
                connection.tickets_expire_at = expires_at = self._decide_ticket_end()
                relays = make_relays(self.services, connection.agent_id, connection.workspace_id, expires_at)
                connection.send(agentlink.Relays(relays))

    async def see_off(self) -> None:
        """Tell agents of older builds to go, or to dial again as the agent of the newer one."""
        if not self._connections:
            return
        for row in await queries.list_latest_builds(self.services.pool, list(self._connections)):
            connection = self._connections.get(row.agent_id)
            if connection is None or connection.build_id != row.build_id:
                continue
            departure = decide_departure(
                row.build_id,
                latest_build_id=row.latest_build_id,
                transition=row.transition,
                job_status=row.job_status,
                is_token_in_latest=row.is_token_in_latest,
            )
            if departure == "reconnect":
                connection.end(REDIAL, "a newer build has kept this agent; dial again")
            elif departure == "shutdown" and not connection.is_leaving:
                connection.is_leaving = True
                what = {"start": "replaced", "stop": "stopped", "delete": "deleted"}[row.transition]
                connection.send(agentlink.Shutdown(f"the workspace is being {what}"))

    async def _run_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            await self.beat()

    async def _run_departures(self) -> None:
        with self.services.wakeups.waiter("agents") as event:
            while True:
                await wait_for(event, DEPARTURE_POLL_S)
                await self.see_off()
                await asyncio.sleep(DEPARTURE_PAUSE_S)

    def _decide_ticket_end(self) -> int:
        """Spread, so that the tickets of agents that came together do not end together."""
        return int(self.services.now().timestamp()) + TICKET_S + random.randrange(300)  # noqa: S311


async def _supervise(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop to its end, again after a failure."""
    while True:
        try:
            await loop()
            return
        except Exception:
            log.exception("a loop of the agent hub failed", loop=name)
            await asyncio.sleep(1)
