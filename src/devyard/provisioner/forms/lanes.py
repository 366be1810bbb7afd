"""Lanes for forms alone: as many as forms may be worked out at once, started when needed, warm for some minutes.

Owned by the desk. A lane's worker has Terraform in memory (200 MB with the library after 200 forms), which is why
idle ones are ended. Invariant: there are at most `slots` lanes, and none is kept that Terraform may have spoiled.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devyard.provisioner.engine.lane import Lane, MakeLane, start_lane

IDLE_S = 300.0
MAX_USES = 200
"""A plan of a form leaves little behind in Terraform's memory, so that a worker lasts longer than with builds."""


class FormLanes:
    """The pool; `lane` lends one."""

    def __init__(self, make: MakeLane, slots: int, idle_s: float = IDLE_S, max_uses: int = MAX_USES) -> None:
        self._make = make
        self._idle_s = idle_s
        self._max_uses = max_uses
        self._slots = slots
        self._used = 0
        self._free = asyncio.Semaphore(slots)
        self._idle: list[tuple[Lane, asyncio.TimerHandle]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @asynccontextmanager
    async def lane(self, key: str) -> AsyncIterator[Lane]:
        """A lane whose worker has no third-party schemas but those of `key` in memory. Raises WorkerLost."""
        async with self._free:
            self._used += 1
            try:
                lane = self._take_idle(key) or await start_lane(self._make)
                lane.key = key
                lane.uses += 1
                try:
                    yield lane
                finally:
                    self._give_back(lane)
            finally:
                self._used -= 1

    async def close(self) -> None:
        """Ends all idle lanes."""
        self._is_closed = True
        while self._idle:
            self._discard(self._pop_idle(0))
        await asyncio.gather(*self._closing)

    def _take_idle(self, key: str) -> Lane | None:
        """The one used last whose memory fits; those that do not fit make room for another."""
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0].key == key:
                lane = self._pop_idle(index)
                if lane.is_alive:
                    return lane
                self._discard(lane)
        while self._idle and self._used + len(self._idle) > self._slots:
            self._discard(self._pop_idle(0))
        return None

    def _pop_idle(self, index: int) -> Lane:
        lane, timer = self._idle.pop(index)
        timer.cancel()
        return lane

    def _give_back(self, lane: Lane) -> None:
        if self._is_closed or not lane.is_alive or lane.uses >= self._max_uses:
            self._discard(lane)
            return
        timer = asyncio.get_running_loop().call_later(self._idle_s, self._retire, lane)
        self._idle.append((lane, timer))

    def _retire(self, lane: Lane) -> None:
        self._idle = [(each, timer) for each, timer in self._idle if each is not lane]
        self._discard(lane)

    def _discard(self, lane: Lane) -> None:
        task = asyncio.create_task(lane.close(), name="close lane")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
