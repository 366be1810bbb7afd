"""What a person sees while a job waits: its place in the queue, or that no provisioner will ever take it.

Called by joblog.py. Everything goes to stderr; on a terminal the place is one line that changes, elsewhere each
place is said once.
"""

import sys
from collections.abc import Mapping
from datetime import datetime

from devyard.cli.output import ago, note, plain
from devyard.wire.jobs import MatchedProvisioners, ProvisionerJob

PATIENCE_S = 0.5
"""Silence before the queue is looked at: most jobs begin sooner."""


class QueueDisplay:
    """The line about a job that waits."""

    def __init__(self) -> None:
        self._shown = ""
        self._is_terminal = sys.stderr.isatty()

    def show(self, job: ProvisionerJob) -> None:
        """The job as it is now; says nothing when that is known."""
        text = describe_place(job) if job.status == "pending" else ""
        if text == self._shown:
            return
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        elif text:
            note(text)
        self._shown = text

    def clear(self) -> None:
        """Before anything else is written: the job has begun."""
        if self._shown and self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = ""


def describe_place(job: ProvisionerJob) -> str:
    """`Waiting for a provisioner: place 2 of 5 in the queue`."""
    if job.queue_position > 0:
        size = max(job.queue_size, job.queue_position)
        return f"Waiting for a provisioner: place {job.queue_position} of {size} in the queue"
    return "Waiting for a provisioner"


def warn_unmatched(matched: object, job: ProvisionerJob) -> None:
    """Says so when no connected provisioner can take the job, why, and what to do."""
    if not isinstance(matched, MatchedProvisioners) or matched.available:
        return
    note(f"Warning: no provisioner can take this job now. {plain(matched.reason) or _explain(matched, job)}")
    start = "".join(f" --tag {name}={value}" for name, value in sorted(_own_tags(job.tags).items()))
    note("  Those that are there: devyard provisioner list")
    note(f"  One more: devyard provisioner start{start}")


def _explain(matched: MatchedProvisioners, job: ProvisionerJob) -> str:
    """For servers that give no reason of their own."""
    own = _own_tags(job.tags)
    tags = " ".join(f"{name}={value}" for name, value in sorted(own.items()))
    wanted = f"one with the tags {tags}" if own else "a provisioner without tags"
    seen = matched.most_recently_seen
    when = f" The last that fits was seen {ago(seen)}." if isinstance(seen, datetime) else ""
    return f"It needs {wanted}.{when}"


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    implied = {"scope": "organization", "owner": ""}
    return {name: value for name, value in tags.items() if implied.get(name) != value}
