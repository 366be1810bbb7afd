"""Reports traffic and open sessions every interval, as differences since the last report.

Owned by program.py; sessions and streams count into `Counts`.
"""

import asyncio
from collections.abc import Callable

from devyard.agent.outbox import Outbox
from devyard.agent.ssh.context import Counts
from devyard.wire.agentlink import Stats

MIN_INTERVAL_S = 1


class StatsReporter:
    """Turns ever growing counts into reports."""

    def __init__(self, counts: Counts, outbox: Outbox, latency_ms: Callable[[], float]) -> None:
        self._counts = counts
        self._outbox = outbox
        self._latency_ms = latency_ms
        self._rx_bytes = 0
        self._tx_bytes = 0

    async def run(self, interval_s: int) -> None:
        """Reports until cancelled."""
        while True:
            await asyncio.sleep(max(MIN_INTERVAL_S, interval_s))
            self._outbox.put(self.take())

    def take(self) -> Stats:
        """A report of what happened since the last one."""
        counts = self._counts
        rx_bytes, tx_bytes = counts.rx_bytes - self._rx_bytes, counts.tx_bytes - self._tx_bytes
        self._rx_bytes, self._tx_bytes = counts.rx_bytes, counts.tx_bytes
        return Stats(
            seq=0,
            rx_bytes=rx_bytes,
            tx_bytes=tx_bytes,
            ssh_sessions=counts.sessions["ssh"],
            vscode_sessions=counts.sessions["vscode"],
            jetbrains_sessions=counts.sessions["jetbrains"],
            terminal_sessions=0,
            connection_count=counts.connections,
            latency_ms=round(self._latency_ms(), 2),
        )
