"""Background work on the queue: jobs whose provisioner is lost are given up.

Safe on every replica at once: each job is ended under its lease. After a pause in which this process could not
look (a database that was away, a stalled machine) provisioners get the time of a lease to come back first.
"""

import time
from collections.abc import Callable

from devyard.server.jobs import lease_queries, results
from devyard.server.services import Services
from devyard.wire.provisionerlink import LEASE_S

PERIOD_S = 3.0


class Reaper:
    """Gives up lost jobs, a few each round."""

    def __init__(self, services: Services, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._monotonic = monotonic
        self._looking_since: float | None = None
        self._last_round = 0.0

    async def run_round(self) -> None:
        """One look at the leases."""
        now = self._monotonic()
        if self._looking_since is None or now - self._last_round > 3 * PERIOD_S:
            self._looking_since = now
        lost = await lease_queries.list_lost(self._services.pool)
        self._last_round = self._monotonic()
        if now - self._looking_since < LEASE_S:
            return
        for job_id, lease_id in lost:
            await results.give_up_lost(self._services, job_id, lease_id)
