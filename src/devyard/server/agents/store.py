"""Gathers what agents report and stores it in batches: one statement a kind for all agents of this process.

Called by the agent link and the agents' REST routes. The first report after a quiet moment is stored at once,
what comes meanwhile with the next batch, and slow kinds (metadata, stats) at the latest after a second.
Invariant: a report is acknowledged only after its batch is stored; when the database is away nothing is lost and
senders are slowed down, not the process filled up.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import structlog

from devyard.server.agents import rules
from devyard.server.agents import store_queries as queries
from devyard.wire import agentlink
from devyard.wire.enums import AgentLifecycle, LogLevel

log = structlog.get_logger("agents.store")

SLOW_S = 1.0
PAUSE_S = 0.02
RETRY_S = 1.0
MAX_PENDING_BYTES = 16 << 20
MAX_LINE_BYTES = 1024
MAX_VALUE_BYTES = 2048

_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.TooManyConnectionsError,
)


class Reporter(Protocol):
    """Who wants to know that reports are stored."""

    def acknowledge(self, seq: int, size_bytes: int) -> None:
        """Everything up to `seq` is stored; `size_bytes` of it in this batch."""


class Batch:
    """Reports that are stored together, by kind."""

    def __init__(self) -> None:
        self.connected: dict[UUID, tuple[Any, ...]] = {}
        self.hellos: dict[UUID, tuple[Any, ...]] = {}
        self.disconnected: list[tuple[Any, ...]] = []
        self.lifecycles: dict[UUID, tuple[Any, ...]] = {}
        self.logs: list[tuple[Any, ...]] = []
        self.metadata: dict[tuple[UUID, str], tuple[Any, ...]] = {}
        self.app_healths: dict[tuple[UUID, str], tuple[Any, ...]] = {}
        self.script_runs: list[tuple[Any, ...]] = []
        self.stats: list[tuple[Any, ...]] = []
        self.uses: set[UUID] = set()
        self.topics: set[str] = set()
        self.acks: dict[Reporter, list[int]] = {}
        self.size_bytes = 0
        self.is_stored = asyncio.Event()
        self.is_empty = True


class ReportStore:
    """The process's one buffer of reports. `run` stores until `stop`; `flush` stores what there is."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._batch = Batch()
        self._is_stopping = False
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def add_connected(self, agent_id: UUID, workspace_id: UUID, connection_id: UUID) -> None:
        """An agent has connected."""
        self._batch.connected[agent_id] = (agent_id, connection_id, self._now())
        self._touch(f"workspace:{workspace_id}", is_urgent=True)

    def add_disconnected(self, agent_id: UUID, workspace_id: UUID, connection_id: UUID) -> None:
        """A connection has ended."""
        self._batch.disconnected.append((agent_id, connection_id, self._now()))
        self._touch(f"workspace:{workspace_id}", is_urgent=True)

    def add_hello(self, agent_id: UUID, workspace_id: UUID, hello: agentlink.Hello) -> None:
        """What an agent says of itself."""
        keys = "\n".join(cut(key.strip(), 4096).replace("\n", " ") for key in hello.host_keys[:8])
        systems = "\n".join(cut(name, 64).replace("\n", " ") for name in hello.subsystems[:16])
        directory = cut(hello.expanded_directory, 4096)
        self._batch.hellos[agent_id] = (agent_id, cut(hello.version, 100), "2.0", directory, keys, systems)
        self._touch(f"workspace:{workspace_id}", is_urgent=True)

    def add_lifecycle(self, agent_id: UUID, workspace_id: UUID, state: AgentLifecycle, at: datetime) -> None:
        """An agent is in another state; states of one batch are merged."""
        _, _, started_at, ready_at = self._batch.lifecycles.get(agent_id, (None, None, None, None))
        if state == "starting":
            started_at, ready_at = at, None
        elif rules.is_start_ended(state):
            ready_at = at
        self._batch.lifecycles[agent_id] = (agent_id, state, started_at, ready_at)
        self._touch(f"workspace:{workspace_id}", is_urgent=True)

    def add_log(self, agent_id: UUID, source_id: UUID, at: datetime, level: LogLevel, output: str) -> None:
        """A line of an agent's log."""
        self._batch.logs.append((agent_id, source_id, at, level, cut(output, MAX_LINE_BYTES)))
        self._touch(f"agent-logs:{agent_id}", is_urgent=True)

    def add_metadata(self, agent_id: UUID, value: agentlink.MetadataValue) -> None:
        """A measured value; the newest of a key counts."""
        text, error = cut(value.value, MAX_VALUE_BYTES), cut(value.error, MAX_VALUE_BYTES)
        key = cut(value.key, MAX_VALUE_BYTES)
        self._batch.metadata[agent_id, key] = (agent_id, key, text, error, value.collected_at)
        self._touch(f"agent-metadata:{agent_id}")

    def add_app_health(self, agent_id: UUID, workspace_id: UUID, app: str, health: str) -> None:
        """An app has become well or unwell."""
        app = cut(app, 256)
        self._batch.app_healths[agent_id, app] = (agent_id, app, health)
        self._touch(f"workspace:{workspace_id}")

    def add_script_run(self, agent_id: UUID, run: agentlink.ScriptRun) -> None:
        """A script has ended."""
        code = max(-(2**31), min(run.exit_code, 2**31 - 1))
        row = (agent_id, run.script_id, run.stage, run.status, code, run.started_at, run.ended_at)
        self._batch.script_runs.append(row)
        self._touch()

    def add_stats(self, agent_id: UUID, workspace_id: UUID, stats: agentlink.Stats) -> None:
        """Traffic and sessions of an agent; sessions count as use of the workspace."""
        sessions = (
            stats.ssh_sessions,
            stats.vscode_sessions,
            stats.jetbrains_sessions,
            stats.terminal_sessions,
            stats.connection_count,
        )
        bounded = [max(0, min(count, 2**31 - 1)) for count in sessions]
        sizes = [max(0, min(size, 2**62)) for size in (stats.rx_bytes, stats.tx_bytes)]
        self._batch.stats.append((agent_id, self._now(), *sizes, *bounded, stats.latency_ms))
        if any(bounded[:4]):
            self._batch.uses.add(workspace_id)
        self._touch()

    def add_ack(self, reporter: Reporter, seq: int, size_bytes: int) -> None:
        """Tell `reporter` once everything that was added so far is stored."""
        entry = self._batch.acks.setdefault(reporter, [0, 0])
        entry[0] = max(entry[0], seq)
        entry[1] += size_bytes
        self._batch.size_bytes += size_bytes
        self._batch.is_empty = False
        if self._batch.size_bytes > MAX_PENDING_BYTES:
            self._room.clear()

    async def wait_for_room(self) -> None:
        """Returns at once unless too much waits to be stored."""
        await self._room.wait()

    async def wait_stored(self) -> None:
        """Returns when everything that was added so far is stored."""
        batch = self._batch
        self._urgent.set()
        await batch.is_stored.wait()

    async def run(self) -> None:
        """Store batches until `stop`."""
        while not self._is_stopping:
            try:
                async with asyncio.timeout(SLOW_S):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            await self.flush()
            await asyncio.sleep(PAUSE_S)

    def stop(self) -> None:
        """Let `run` end once what there is now is stored."""
        self._is_stopping = True
        self._urgent.set()

    async def flush(self) -> None:
        """Store what there is, again and again while the database is away."""
        self._urgent.clear()
        batch, self._batch = self._batch, Batch()
        self._room.set()
        if not batch.is_empty:
            await self._store(batch)
        for reporter, (seq, size_bytes) in batch.acks.items():
            reporter.acknowledge(seq, size_bytes)
        batch.is_stored.set()

    def _touch(self, topic: str = "", *, is_urgent: bool = False) -> None:
        self._batch.is_empty = False
        if topic:
            self._batch.topics.add(topic)
        if is_urgent:
            self._urgent.set()

    async def _store(self, batch: Batch) -> None:
        for store, rows in self._list_work(batch):
            while rows:
                try:
                    await store(self._pool, rows)
                except _AWAY as error:
                    log.warning("can't store reports of agents yet", error=repr(error), retry_in_s=RETRY_S)
                    await asyncio.sleep(RETRY_S)
                    continue
                except asyncpg.PostgresError:
                    log.exception("reports of agents were refused", statement=store.__name__)
                break

    def _list_work(self, batch: Batch) -> list[tuple[Callable[[asyncpg.Pool, Any], Any], Any]]:
        async def store_uses(pool: asyncpg.Pool, workspace_ids: set[UUID]) -> None:
            await queries.store_uses(pool, workspace_ids, self._now())

        return [
            (queries.store_connected, list(batch.connected.values())),
            (queries.store_hellos, list(batch.hellos.values())),
            (queries.store_lifecycles, list(batch.lifecycles.values())),
            (queries.store_logs, batch.logs),
            (queries.store_metadata, list(batch.metadata.values())),
            (queries.store_app_healths, list(batch.app_healths.values())),
            (queries.store_script_runs, batch.script_runs),
            (queries.store_stats, batch.stats),
            (store_uses, batch.uses),
            (queries.store_disconnected, batch.disconnected),
            (queries.wake_all, batch.topics),
        ]


def cut(text: str, size_bytes: int) -> str:
    """The text without NUL (PostgreSQL takes none), at most `size_bytes` long in UTF-8."""
    if "\0" in text:
        text = text.replace("\0", "")
    if len(text) * 4 <= size_bytes:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= size_bytes else encoded[:size_bytes].decode("utf-8", "ignore")
