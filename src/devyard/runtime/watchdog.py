"""Names the code that blocks an event loop: a thread looks at the loop's stack when its pulse stays away.

One per process with a loop. The loop beats every PULSE_S; the thread wakes as often and, when the last beat is
older than the threshold, reports the innermost frame of our own code on the loop's thread, once per stall and at
most every `report_interval_s`.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

PULSE_S = 0.025
STALL_S = 0.1


class Stall(NamedTuple):
    """One stall as seen while it lasts. `where` is `file:line function`, `stack` the frames, outermost first."""

    blocked_s: float
    where: str
    stack: list[str]


class Watchdog:
    """Watches the loop it is started in. `report` is called from the watching thread."""

    def __init__(
        self, report: Callable[[Stall], None], *, threshold_s: float = STALL_S, report_interval_s: float = 5.0
    ) -> None:
        self._report = report
        self._threshold_s = threshold_s
        self._report_interval_s = report_interval_s
        self._beat_at = time.monotonic()
        self._stop = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread_id = 0

    def start(self) -> None:
        """Begins; to be called on the loop's own thread."""
        self._loop_thread_id = threading.get_ident()
        self._beat(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Ends; the thread leaves within one pulse."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat_at = time.monotonic()
        self._timer = loop.call_later(PULSE_S, self._beat, loop)

    def _watch(self) -> None:
        reported_beat = reported_at = 0.0
        last_look = time.monotonic()
        while not self._stop.wait(PULSE_S):
            now, beat = time.monotonic(), self._beat_at
            # A watcher that itself slept too long says that the machine was busy or suspended, not the loop.
            was_awake = now - last_look < PULSE_S + self._threshold_s / 2
            last_look = now
            is_new = beat != reported_beat and now - reported_at >= self._report_interval_s
            if was_awake and is_new and now - beat > self._threshold_s:
                frame = sys._current_frames().get(self._loop_thread_id)
                if frame is not None:
                    reported_beat, reported_at = beat, now
                    self._report(describe_stall(frame, now - beat))
                del frame


def describe_stall(frame: FrameType, blocked_s: float) -> Stall:
    """What the stack of a blocked loop says: the innermost frame, preferring code of this package."""
    summary = traceback.extract_stack(frame)
    lines = [f"{entry.filename}:{entry.lineno} {entry.name}" for entry in summary]
    ours = [line for line, entry in zip(lines, summary, strict=True) if "/devyard/" in entry.filename]
    where = lines[-1]
    if ours and ours[-1] != where and "/runtime/watchdog.py" not in ours[-1]:
        where = f"{where} (called from {ours[-1]})"
    return Stall(blocked_s, where, lines[-20:])
