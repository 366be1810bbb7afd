"""The agents' spare connections: kept alive by pings, handed out to clients' streams, bounded.

Per agent the newest is used first (it surely lives), and the oldest is pushed out by a new one beyond the bound,
so that an agent that comes back after a cut is never locked out by its own dead connections. A client that finds
none waits for the next. The protocol itself is net/framing.py. docs/design/tunnels.md
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from uuid import UUID

import structlog

from devyard.net.framing import PeerError, RelaySide
from devyard.net.rawsock import PEEK_BYTES

SWEEP_S = 2.0
SWEEP_BATCH = 500
MAX_WAITERS_PER_AGENT = 256

_log = structlog.get_logger("relay")


class Spare:
    """One idle connection of an agent. Whoever takes it owns the socket."""

    __slots__ = ("agent_id", "side", "sock")

    def __init__(self, agent_id: UUID, sock: socket.socket, now: float) -> None:
        self.agent_id = agent_id
        self.sock = sock
        self.side = RelaySide(now)


class SparePool:
    """All spare connections of this relay."""

    def __init__(self, *, per_agent: int, total: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._per_agent, self._max_total = per_agent, total
        self._spares: dict[UUID, deque[Spare]] = {}
        self._waiters: dict[UUID, deque[asyncio.Future[Spare]]] = {}
        self.total = 0

    def has_room(self) -> bool:
        """Whether one more agent connection fits."""
        return self.total < self._max_total

    def add(self, agent_id: UUID, sock: socket.socket) -> None:
        """Takes a connection whose upgrade was answered; a waiting client gets it at once."""
        spare = Spare(agent_id, sock, self._loop.time())
        waiters = self._waiters.get(agent_id)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(spare)
                return
        pool = self._spares.setdefault(agent_id, deque())
        if len(pool) >= self._per_agent:
            self._drop(pool[0], "pushed out by a newer one")
            pool = self._spares.setdefault(agent_id, deque())
        pool.append(spare)
        self.total += 1
        self._loop.add_reader(sock.fileno(), self._on_readable, spare)

    async def take(self, agent_id: UUID, timeout_s: float) -> Spare | None:
        """A spare connection of this agent, None when none turned up in time."""
        pool = self._spares.get(agent_id)
        if pool:
            spare = pool[-1]
            self._remove(spare)
            return spare
        waiters = self._waiters.setdefault(agent_id, deque())
        if len(waiters) >= MAX_WAITERS_PER_AGENT:
            return None
        waiter: asyncio.Future[Spare] = self._loop.create_future()
        waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            # A spare may have been handed to this waiter in the very moment of the timeout.
            return waiter.result() if waiter.done() and not waiter.cancelled() else None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().sock.close()
            raise
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters and self._waiters.get(agent_id) is waiters:
                del self._waiters[agent_id]

    async def run_pings(self) -> None:
        """Pings silent connections and drops dead ones, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            everyone = [spare for pool in self._spares.values() for spare in pool]
            for start in range(0, len(everyone), SWEEP_BATCH):
                now = self._loop.time()
                for spare in everyone[start : start + SWEEP_BATCH]:
                    self._check(spare, now)
                await asyncio.sleep(0)

    def close(self) -> None:
        """Drops everything."""
        for pool in list(self._spares.values()):
            for spare in list(pool):
                self._drop(spare, "the relay stops")

    def _check(self, spare: Spare, now: float) -> None:
        if not self._is_pooled(spare):
            return
        if spare.side.is_dead(now):
            self._drop(spare, "no answer to a ping")
        elif spare.side.is_ping_due(now):
            ping = spare.side.ping(now)
            try:
                sent = spare.sock.send(ping)
            except OSError:
                sent = 0
            if sent != len(ping):
                self._drop(spare, "does not take a ping")

    def _on_readable(self, spare: Spare) -> None:
        try:
            data = spare.sock.recv(PEEK_BYTES)
            if not data:
                self._drop(spare, "ended by the agent")
                return
            spare.side.receive(data, self._loop.time())
        except BlockingIOError:
            pass
        except (OSError, PeerError) as error:
            self._drop(spare, str(error))

    def _drop(self, spare: Spare, reason: str) -> None:
        self._remove(spare)
        spare.sock.close()
        _log.debug("spare_dropped", agent_id=str(spare.agent_id), reason=reason)

    def _remove(self, spare: Spare) -> None:
        pool = self._spares[spare.agent_id]
        pool.remove(spare)
        if not pool:
            del self._spares[spare.agent_id]
        self.total -= 1
        self._loop.remove_reader(spare.sock.fileno())

    def _is_pooled(self, spare: Spare) -> bool:
        return spare in self._spares.get(spare.agent_id, ())


class StreamCounts:
    """How many streams each user and workspace has; `enter` refuses beyond the limits."""

    def __init__(self, *, per_user: int, per_workspace: int) -> None:
        self._per_user, self._per_workspace = per_user, per_workspace
        self._counts: dict[tuple[str, UUID], int] = {}

    def enter(self, user_id: UUID | None, workspace_id: UUID) -> Callable[[], None] | str:
        """What to call when the stream ends, or in words why it may not begin."""
        keys = [(("workspace", workspace_id), self._per_workspace)]
        if user_id is not None:
            keys.append((("user", user_id), self._per_user))
        for key, limit in keys:
            if self._counts.get(key, 0) >= limit:
                return f"This {key[0]} already has {limit} open streams; close some and try again."
        for key, _ in keys:
            self._counts[key] = self._counts.get(key, 0) + 1

        def leave() -> None:
            for key, _ in keys:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

        return leave
