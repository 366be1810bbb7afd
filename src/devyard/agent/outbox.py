"""Reports on their way to the server: kept until acknowledged, bounded, numbered per connection. Pure.

Filled by every part of the agent, emptied by link.py. Invariants: order is kept; what was sent and not
acknowledged is sent again, first, on the next connection; when the bound is reached the oldest measurements
go first, then the oldest log lines, never a lifecycle change or the result of a script.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from devyard.wire.agentlink import AppHealths, Lifecycle, Logs, Metadata, ScriptRun, Stats

Report = Lifecycle | Logs | Metadata | Stats | AppHealths | ScriptRun
"""Built with `seq` 0; the outbox numbers it."""

MAX_BYTES = 4 << 20
WINDOW = 64
"""Reports sent and not yet acknowledged, at most."""
_DROPPED_FIRST: tuple[tuple[type[Report], ...], ...] = ((Stats, Metadata), (AppHealths,), (Logs,))


class Outbox:
    """The queue; `on_change` is called when there may be something to send."""

    def __init__(
        self, on_change: Callable[[], None] = lambda: None, *, max_bytes: int = MAX_BYTES, window: int = WINDOW
    ) -> None:
        self.on_change = on_change
        self.dropped = 0
        self._max_bytes = max_bytes
        self._window = window
        self._waiting: deque[tuple[Report, int]] = deque()
        self._sent: deque[tuple[int, Report, int]] = deque()
        self._bytes = 0
        self._next_seq = 1

    def put(self, report: Report) -> None:
        """Queues a report, and drops older ones when the bound is exceeded."""
        size = _size_of(report)
        self._waiting.append((report, size))
        self._bytes += size
        self._enforce_bound()
        self.on_change()

    def take(self) -> Report | None:
        """The next report to send, numbered; None when there is none or the window is full."""
        if not self._waiting or len(self._sent) >= self._window:
            return None
        report, size = self._waiting.popleft()
        report = msgspec.structs.replace(report, seq=self._next_seq)
        self._next_seq += 1
        self._sent.append((report.seq, report, size))
        return report

    def ack(self, seq: int) -> None:
        """The server stored everything up to and with `seq` of this connection."""
        while self._sent and self._sent[0][0] <= seq:
            self._bytes -= self._sent.popleft()[2]
        self.on_change()

    def reconnected(self) -> None:
        """A new connection: numbers start again, and what was not acknowledged goes first."""
        while self._sent:
            _, report, size = self._sent.pop()
            self._waiting.appendleft((report, size))
        self._next_seq = 1
        self._enforce_bound()
        self.on_change()

    @property
    def is_empty(self) -> bool:
        """Whether everything was stored by the server."""
        return not self._waiting and not self._sent

    def _enforce_bound(self) -> None:
        while self._bytes > self._max_bytes and self._drop_one():
            pass

    def _drop_one(self) -> bool:
        for kinds in _DROPPED_FIRST:
            for index, (report, size) in enumerate(self._waiting):
                if isinstance(report, kinds):
                    del self._waiting[index]
                    self._bytes -= size
                    self.dropped += 1
                    return True
        return False


def _size_of(report: Report) -> int:
    if isinstance(report, Logs):
        return sum(len(line.output) + 64 for line in report.lines)
    if isinstance(report, Metadata):
        return sum(len(value.value) + len(value.error) + 96 for value in report.values)
    return 128
