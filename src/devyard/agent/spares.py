"""Spare connections at the relays, so that a client's stream finds the agent already there. docs/design/tunnels.md

Owned by program.py. One `RelayPool` per relay of the manifest keeps `target` connections idle: a taken one is
replaced at once, and use makes the target grow up to a bound; quiet time makes it shrink again. A relay that
can't be reached is tried again for ever, with jitter, by one task at a time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from devyard.net.dial import OpenedStream, dial_agent_spare
from devyard.net.upgrade import RelayRefusedError, StreamError
from devyard.runtime.backoff import Backoff
from devyard.wire.streams import RelayAccess

log = logging.getLogger("devyard.agent.relay")

MIN_SPARES = 3
MAX_SPARES = 32
SHRINK_AFTER_S = 120.0

ServeStream = Callable[[OpenedStream], Awaitable[None]]


class SpareTarget:
    """How many spares to keep: doubles when the last one was taken, returns to the minimum after quiet. Pure."""

    def __init__(self, *, least: int = MIN_SPARES, most: int = MAX_SPARES) -> None:
        self._least, self._most = least, most
        self.count = least
        self._taken_at = float("-inf")

    def taken(self, idle_left: int, now: float) -> None:
        """A spare was taken and `idle_left` remain. `now` is monotonic seconds."""
        self._taken_at = now
        if idle_left < self._least - 1:
            self.count = min(self._most, max(self.count + 1, self._least))
        if idle_left == 0:
            self.count = min(self._most, self.count * 2)

    def wanted(self, now: float) -> int:
        """The number to keep at this time."""
        if now - self._taken_at > SHRINK_AFTER_S:
            self.count = self._least
        return self.count


class RelayPool:
    """Keeps spares at one relay and serves the streams that come over them."""

    def __init__(self, access: RelayAccess, serve: ServeStream) -> None:
        self.access = access
        self._serve = serve
        self._target = SpareTarget()
        self._backoff = Backoff(first_s=0.2, cap_s=10.0)
        self._idle: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._filler = asyncio.ensure_future(self._fill())
        self._is_refused = False

    @property
    def stream_count(self) -> int:
        """Streams that are open through this relay."""
        return len(self._streams)

    def renew(self, access: RelayAccess) -> None:
        """A fresh ticket; connections that are open keep working."""
        self.access = access
        self._changed.set()

    async def close(self, *, grace_s: float = 0.0) -> None:
        """Gives the spares up; open streams may end by themselves within `grace_s`, then they are cut."""
        self._filler.cancel()
        for task in self._idle:
            task.cancel()
        if self._streams and grace_s > 0:
            await asyncio.wait(self._streams, timeout=grace_s)
        for task in self._streams:
            task.cancel()
        await asyncio.gather(self._filler, *self._idle, *self._streams, return_exceptions=True)

    async def _fill(self) -> None:
        while True:
            self._changed.clear()
            missing = self._target.wanted(time.monotonic()) - len(self._idle)
            if missing > 0 and not await self._dial(missing):
                await asyncio.sleep(self._backoff.next_s())
                continue
            try:
                async with asyncio.timeout(SHRINK_AFTER_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _dial(self, count: int) -> bool:
        """Dials `count` spares side by side; False when one failed."""
        access = self.access
        results = await asyncio.gather(
            *(dial_agent_spare(access.url, access.ticket) for _ in range(count)), return_exceptions=True
        )
        failure: BaseException | None = None
        for result in results:
            if isinstance(result, BaseException):
                failure = result
                continue
            task = asyncio.ensure_future(self._hold(result.wait_open()))
            self._idle.add(task)
            task.add_done_callback(self._forget)
        if failure is None:
            self._backoff.reset()
            self._is_refused = False
            return True
        if not isinstance(failure, (StreamError, ValueError, OSError)):
            raise failure
        if not self._is_refused:
            self._is_refused = True
            level = logging.ERROR if isinstance(failure, RelayRefusedError) else logging.WARNING
            log.log(level, "no spare connection at %s (tried again until it works): %s", access.url, failure)
        return False

    async def _hold(self, opening: Awaitable[OpenedStream]) -> None:
        opened: OpenedStream | None = None
        try:
            opened = await opening
        except StreamError as error:
            log.debug("%s", error)
        task = asyncio.current_task()
        assert task is not None
        self._idle.discard(task)
        if opened is not None:
            self._streams.add(task)
            self._target.taken(len(self._idle), time.monotonic())
        else:
            await asyncio.sleep(self._backoff.next_s())
        self._changed.set()
        if opened is None:
            return
        try:
            await self._serve(opened)
        except (StreamError, OSError) as error:
            log.debug("stream %s ended: %s", opened.stream_id, error)
        finally:
            opened.sock.close()

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._idle.discard(task)
        self._streams.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a stream ended by a fault of the agent", exc_info=error)


class RelayPools:
    """The pools of all relays of the manifest."""

    def __init__(self, serve: ServeStream) -> None:
        self._serve = serve
        self._pools: dict[str, RelayPool] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def stream_count(self) -> int:
        """Open streams through all relays."""
        return sum(pool.stream_count for pool in self._pools.values())

    def update(self, relays: Sequence[RelayAccess]) -> None:
        """Takes the server's list: new relays are dialed, known ones get the new ticket, others are left."""
        wanted = {access.url: access for access in relays}
        for url in self._pools.keys() - wanted.keys():
            task = asyncio.ensure_future(self._pools.pop(url).close(grace_s=3600.0))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for url, access in wanted.items():
            if url in self._pools:
                self._pools[url].renew(access)
            else:
                self._pools[url] = RelayPool(access, self._serve)

    async def close(self, *, grace_s: float) -> None:
        """Ends all pools; streams may run on for `grace_s`."""
        pools, self._pools = list(self._pools.values()), {}
        for task in self._closing:
            task.cancel()
        await asyncio.gather(
            *(pool.close(grace_s=grace_s) for pool in pools), *self._closing, return_exceptions=True
        )
