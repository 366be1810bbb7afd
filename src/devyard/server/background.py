"""Runs the loops of all subjects: each alone, restarted after a failure, ended together.

A loop is a function that does one round; rounds must be safe to run on several replicas at once. Called by
app.py. Invariant: a failing round is logged once and never ends the loop or a neighbour.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import NamedTuple

import structlog

from devyard.server.db.wakeups import Wakeups, wait_for

log = structlog.get_logger("background")

Round = Callable[[], Awaitable[object]]


class Loop(NamedTuple):
    """A round, how often it runs, and the wake-up topics that make it run at once."""

    name: str
    period_s: float
    run: Round
    topics: tuple[str, ...] = ()


class Background:
    """All loops of a process, as an async context."""

    def __init__(self, loops: Sequence[Loop], wakeups: Wakeups) -> None:
        self._loops = loops
        self._wakeups = wakeups
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(self._run(loop), name=loop.name) for loop in self._loops]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for loop in self._loops:
            if loop.name.startswith("flush"):
                await _run_round(loop)

    async def _run(self, loop: Loop) -> None:
        with self._wakeups.waiter(*loop.topics) as event:
            while True:
                await wait_for(event, loop.period_s)
                await _run_round(loop)


async def _run_round(loop: Loop) -> None:
    try:
        await loop.run()
    except Exception:
        log.exception("a background round failed", loop=loop.name)
