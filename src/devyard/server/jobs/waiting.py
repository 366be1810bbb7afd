"""Background work on jobs that wait: one that no provisioner could take for a long time fails, and says why.

Safe on every replica at once: a job that was claimed meanwhile is left alone. Jobs that only wait for their turn
are never failed, however long the queue is.
"""

from devyard.server.jobs import lease_queries, results
from devyard.server.jobs.matching import load_matched
from devyard.server.services import Services

PERIOD_S = 30.0


async def fail_hopeless(services: Services) -> int:
    """Fail the jobs that have waited too long for a provisioner that is not there; how many that were."""
    limit = services.settings.max_wait_for_provisioner
    if not limit:
        return 0
    failed = 0
    for job in await lease_queries.list_hopeless(services.pool, limit.total_seconds()):
        matched = await load_matched(services.pool, job)
        if matched.reason:
            minutes = round(limit.total_seconds() / 60)
            reason = f"No provisioner could take the job for {minutes} minutes. {matched.reason}"
            await results.fail_unstartable(services, job.id, reason)
            failed += 1
    return failed
