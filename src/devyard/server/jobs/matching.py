"""Where a job stands: its place in the queue and the provisioners that could take it."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.jobs.queries import JobRow, list_queue_positions
from devyard.server.jobs.rules import can_run
from devyard.server.provisioners.queries import list_tags
from devyard.wire.jobs import MatchedProvisioners


async def load_queue(executor: Executor, jobs: Sequence[JobRow]) -> dict[UUID, tuple[int, int]]:
    """(position, size) of those jobs that wait; asks the database only where one does."""
    waiting = [job.id for job in jobs if job.status == "pending"]
    return await list_queue_positions(executor, waiting) if waiting else {}


async def load_matched(executor: Executor, job: JobRow) -> MatchedProvisioners:
    """How many provisioners could take a job: all that were seen lately, and those that are connected."""
    matching = [
        (seen_at, is_online)
        for _, tags, seen_at, is_online in await list_tags(executor, job.organization_id)
        if can_run(job.tags, tags)
    ]
    return MatchedProvisioners(
        count=len(matching),
        available=sum(is_online for _, is_online in matching),
        most_recently_seen=max((seen_at for seen_at, _ in matching), default=msgspec.UNSET),
    )
