"""Log lines on their way to the server: batched per source, bounded in rate and in all.

Filled by scripts and by the agent's own logging handler, emptied into the outbox a few times a second. The
server keeps LOG_BYTES_PER_AGENT; a little more is sent so that it can say that something is missing, then
lines only go to their files.
"""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime
from uuid import UUID

from devyard.agent.outbox import Outbox
from devyard.wire.agentlink import LOG_BYTES_PER_AGENT, LogLine, Logs
from devyard.wire.enums import LogLevel

LINES_PER_MESSAGE = 200
FLUSH_INTERVAL_S = 0.2
MAX_WAITING_LINES = 4000
BUDGET_BYTES = LOG_BYTES_PER_AGENT + 64 * 1024


class LogShipper:
    """Takes lines of any source, in order."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: deque[tuple[UUID, LogLine]] = deque()
        self._budget_bytes = BUDGET_BYTES
        self._left_out: dict[UUID, int] = {}
        self._wake = asyncio.Event()

    def add(self, source_id: UUID, output: str, level: LogLevel = "info", *, at: datetime | None = None) -> None:
        """Takes one line (at most 1 KiB of it counts for the server)."""
        if self._budget_bytes <= 0:
            return
        if len(self._waiting) >= MAX_WAITING_LINES:
            self._left_out[source_id] = self._left_out.get(source_id, 0) + 1
            return
        self._budget_bytes -= len(output.encode()) + 1
        self._waiting.append((source_id, LogLine(at or datetime.now(UTC), output, level)))
        self._wake.set()

    async def run(self) -> None:
        """Flushes for ever."""
        while True:
            await self._wake.wait()
            self.flush()
            await asyncio.sleep(FLUSH_INTERVAL_S)

    def flush(self) -> None:
        """Moves what is waiting to the outbox, one message per run of lines of a source."""
        self._wake.clear()
        for source_id, count in self._left_out.items():
            text = f"… {count} lines came too fast and were left out here; the log file has them."
            self._waiting.append((source_id, LogLine(datetime.now(UTC), text, "warn")))
        self._left_out.clear()
        batch: list[LogLine] = []
        batch_source: UUID | None = None
        while self._waiting:
            source_id, line = self._waiting.popleft()
            if batch_source is not None and (source_id != batch_source or len(batch) >= LINES_PER_MESSAGE):
                self._outbox.put(Logs(0, batch_source, batch))
                batch = []
            batch_source = source_id
            batch.append(line)
        if batch and batch_source is not None:
            self._outbox.put(Logs(0, batch_source, batch))


class ShippingHandler(logging.Handler):
    """Sends the agent's own warnings and notices to the workspace's log, once its id is known."""

    def __init__(self, shipper: LogShipper) -> None:
        super().__init__(logging.INFO)
        self._shipper = shipper
        self._loop = asyncio.get_running_loop()
        self.source_id: UUID | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """May be called from any thread."""
        source_id = self.source_id
        if source_id is None:
            return
        level: LogLevel = "info"
        if record.levelno >= logging.ERROR:
            level = "error"
        elif record.levelno >= logging.WARNING:
            level = "warn"
        try:
            self._loop.call_soon_threadsafe(self._shipper.add, source_id, record.getMessage()[:1000], level)
        except RuntimeError:  # the loop has ended
            pass
