"""What a job has to tell the server and has not yet got through: log lines, the newest state, the result.

The session fills and empties it; no I/O here. Invariants: lines keep their order and come before the result; of
several states only the newest waits, and at most one is on its way; what the server has not acknowledged is sent
again after a reconnect, the result until it is.
"""

from collections import deque
from uuid import UUID

import msgspec

from devyard.provisioner.jobs.run import Result
from devyard.wire.provisionerlink import JobLogLine, Logs, StateSaved

MAX_LINES = 20_000
LINES_PER_MESSAGE = 200


class Outbox:
    """The outbox of one job under one lease."""

    def __init__(self, job_id: UUID, lease_id: UUID) -> None:
        self.job_id = job_id
        self.lease_id = lease_id
        self.is_settled = False
        self._lines: deque[JobLogLine] = deque()
        self._dropped = 0
        self._state: bytes | None = None
        self._state_sent: StateSaved | None = None
        self._result: Result | None = None
        self._is_result_sent = False
        self._seq = 0

    @property
    def is_urgent(self) -> bool:
        """There is more than log lines to send."""
        return (self._state is not None and self._state_sent is None) or (
            self._result is not None and not self._is_result_sent
        )

    @property
    def result(self) -> Result | None:
        """How the job ended, once it has."""
        return self._result

    def add_line(self, line: JobLogLine) -> None:
        """A line of the log. While the server is away the oldest are dropped over `MAX_LINES`."""
        self._lines.append(line)
        if len(self._lines) > MAX_LINES:
            self._lines.popleft()
            self._dropped += 1

    def save_state(self, state: bytes) -> None:
        """A newer state."""
        if self._result is None:
            self._state = state

    def finish(self, result: Result) -> None:
        """The job's end. Its state, if any, is newer than what still waits."""
        self._seq += 1
        self._result = msgspec.structs.replace(result, seq=self._seq)
        self._state = None

    def take(self) -> list[Logs | StateSaved | Result]:
        """What to send now, in order."""
        messages: list[Logs | StateSaved | Result] = list(self._take_lines())
        if self._state is not None and self._state_sent is None:
            self._seq += 1
            self._state_sent = StateSaved(self.job_id, self.lease_id, self._seq, self._state)
            self._state = None
            messages.append(self._state_sent)
        if self._result is not None and not self._is_result_sent:
            self._is_result_sent = True
            messages.append(self._result)
        return messages

    def acknowledge(self, seq: int) -> None:
        """The server has stored, or for good refused, the message `seq`."""
        if self._state_sent and seq >= self._state_sent.seq:
            self._state_sent = None
        if self._result is not None and self._is_result_sent and seq == self._result.seq:
            self.is_settled = True

    def rewind(self) -> None:
        """The connection was lost: what was on its way is sent again, unless something newer waits."""
        if self._state_sent and self._state is None and self._result is None:
            self._state = self._state_sent.state
        self._state_sent = None
        self._is_result_sent = False

    def _take_lines(self) -> list[Logs]:
        messages = []
        if self._dropped and self._lines:
            first = self._lines[0]
            text = f"{self._dropped} lines are missing here: the server was away for too long."
            self._lines[0] = msgspec.structs.replace(first, output=f"{text}\n{first.output}")
            self._dropped = 0
        while self._lines:
            count = min(LINES_PER_MESSAGE, len(self._lines))
            lines = tuple(self._lines.popleft() for _ in range(count))
            messages.append(Logs(self.job_id, self.lease_id, lines))
        return messages
