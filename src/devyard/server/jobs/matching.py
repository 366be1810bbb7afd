"""Where a job stands: its place in the queue and the provisioners that could take it."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.jobs.queries import JobRow, list_queue_positions
from devyard.server.jobs.rules import Candidate, can_run, explain_waiting
from devyard.server.provisioners.queries import list_candidates
from devyard.wire.jobs import MatchedProvisioners


async def load_queue(executor: Executor, jobs: Sequence[JobRow]) -> dict[UUID, tuple[int, int]]:
    """(position, size) of those jobs that wait; asks the database only where one does."""
    waiting = [job.id for job in jobs if job.status == "pending"]
    return await list_queue_positions(executor, waiting) if waiting else {}


async def load_matched(executor: Executor, job: JobRow) -> MatchedProvisioners:
    """How many provisioners could take a job: all that were seen lately, and those that are connected."""
    return decide_matched(job, await list_candidates(executor, job.organization_id))


def decide_matched(job: JobRow, candidates: Sequence[Candidate]) -> MatchedProvisioners:
    """The same from the provisioners of the job's organization, last seen first."""
    matching = [candidate for candidate in candidates if can_run(job.tags, candidate.tags)]
    return MatchedProvisioners(
        count=len(matching),
        available=sum(candidate.is_online for candidate in matching),
        most_recently_seen=max((candidate.last_seen_at for candidate in matching), default=msgspec.UNSET),
        reason=explain_waiting(job.tags, candidates),
    )
