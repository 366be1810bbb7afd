"""Wake-ups between processes: `NOTIFY` says that something happened, never what.

One listening connection per process; a waiter gets an event per topic. A lost notification costs only the
polling interval of the waiter: polling is the truth. Topics are short texts such as `jobs` or `logs:<job id>`.
The payload limit of 8,000 bytes is never near: the payload is the topic.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import asyncpg
import structlog

from devyard.server.db.pool import Executor

log = structlog.get_logger("db.wakeups")

CHANNEL = "devyard_wakeups"


async def wake(connection: Executor, topic: str) -> None:
    """Wake every waiter on `topic`, in all processes; inside a transaction, when it commits."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, topic)


class Wakeups:
    """Receives notifications and sets the events of those who wait.

    After a reconnect every waiter is woken once, since something may have been missed.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns at once."""
        self._task = asyncio.create_task(self._run(), name="wakeups")

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def waiter(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever one of `topics` is woken; clear it before looking."""
        event = asyncio.Event()
        for topic in topics:
            self._waiters[topic].add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._waiters[topic].discard(event)
                if not self._waiters[topic]:
                    del self._waiters[topic]

    def wake_here(self, topic: str) -> None:
        """Wake the waiters of this process only."""
        for event in self._waiters.get(topic, ()):
            event.set()

    async def _run(self) -> None:
        delay = 0.1
        while True:
            try:
                connection = await asyncpg.connect(self._url)
            except (OSError, asyncpg.PostgresError) as error:
                log.warning("can't listen for wake-ups", error=str(error), retry_in_s=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)
                continue
            delay = 0.1
            ended = asyncio.Event()
            try:
                connection.add_termination_listener(partial(_set, ended))
                await connection.add_listener(CHANNEL, lambda _c, _p, _ch, topic: self.wake_here(topic))
                for topic in list(self._waiters):
                    self.wake_here(topic)
                await ended.wait()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("lost the wake-up connection", error=str(error))
            finally:
                connection.terminate()


def _set(event: asyncio.Event, _connection: object) -> None:
    event.set()


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until `event` is set or `timeout_s` have passed, then clear it."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
