"""What a job has to tell the server and has not yet got through: log lines, the newest state, the result.

The session fills and empties it; no I/O here. Invariants: lines keep their order and come before the result; a
line never leaves before the state that was saved before it; of several states only the newest waits, and at most
one is on its way; what the server has not acknowledged is sent again after a reconnect, the result until it is.
"""

from collections import deque
from uuid import UUID

import msgspec

from devyard.provisioner.jobs.run import Result
from devyard.wire.provisionerlink import InFlight, JobLogLine, Logs, StateSaved

MAX_LINES = 20_000
LINES_PER_MESSAGE = 200
MAX_UNACKNOWLEDGED = 50
"""Messages of lines that may be on their way."""

Message = Logs | InFlight | StateSaved | Result


class Outbox:
    """The outbox of one job under one lease."""

    def __init__(self, job_id: UUID, lease_id: UUID) -> None:
        self.job_id = job_id
        self.lease_id = lease_id
        self.is_settled = False
        self._lines: deque[tuple[int, JobLogLine]] = deque()
        self._logs_sent: deque[Logs] = deque()
        self._logs_again: deque[Logs] = deque()
        self._dropped = 0
        self._state: bytes | None = None
        self._state_sent: StateSaved | None = None
        self._states = 0
        self._states_sent = 0
        self._in_flight = self._in_flight_sent = InFlight(job_id, lease_id)
        self._result: Result | None = None
        self._is_result_sent = False
        self._seq = 0

    @property
    def is_urgent(self) -> bool:
        """There is more than log lines to send."""
        return (
            (self._state is not None and self._state_sent is None)
            or (self._result is not None and not self._is_result_sent)
            or self._decide_in_flight() != self._in_flight_sent
        )

    @property
    def result(self) -> Result | None:
        """How the job ended, once it has."""
        return self._result

    def add_line(self, line: JobLogLine) -> None:
        """A line of the log, sent after the newest state. The oldest are dropped over `MAX_LINES`."""
        self._lines.append((self._states, line))
        if len(self._lines) > MAX_LINES:
            self._lines.popleft()
            self._dropped += 1

    def save_state(self, state: bytes) -> None:
        """A newer state."""
        if self._result is None:
            self._state = state
            self._states += 1

    def report_in_flight(
        self, creating: tuple[str, ...], destroying: tuple[str, ...], planned: tuple[str, ...]
    ) -> None:
        """What is being made and removed beyond the newest state."""
        self._in_flight = InFlight(self.job_id, self.lease_id, creating, destroying, planned)

    def finish(self, result: Result) -> None:
        """The job's end. Its state, if any, is newer than what still waits."""
        self._result = result
        if not (self._lines and self._lines[-1][0] > self._states_sent):
            self._state = None
            self._states_sent = self._states

    def take(self) -> list[Message]:
        """What to send now, in order."""
        messages: list[Message] = []
        if self._state is not None and (self._state_sent is None or self._result is not None):
            messages.append(self._take_state(self._state))
        in_flight = self._decide_in_flight()
        if in_flight != self._in_flight_sent:
            self._in_flight_sent = in_flight
            messages.append(in_flight)
        messages += self._take_lines()
        if self._result is not None and not self._is_result_sent and not self._lines:
            messages.append(self._take_result(self._result))
        return messages

    def acknowledge(self, seq: int) -> None:
        """The server has stored, or for good refused, the message `seq` and what came before it."""
        while self._logs_sent and self._logs_sent[0].seq <= seq:
            self._logs_sent.popleft()
        if self._state_sent and seq >= self._state_sent.seq:
            self._state_sent = None
        if self._result is not None and self._is_result_sent and seq == self._result.seq:
            self.is_settled = True

    def rewind(self) -> None:
        """The connection was lost: what was on its way is sent again, unless something newer waits."""
        if self._state_sent and self._state is None and not (self._is_in_result and not self._has_lines):
            self._state = self._state_sent.state
        self._state_sent = None
        self._in_flight_sent = InFlight(self.job_id, self.lease_id)
        self._logs_again = deque(self._logs_sent)
        self._is_result_sent = False

    @property
    def _is_in_result(self) -> bool:
        """The result carries the state."""
        return self._result is not None and bool(getattr(self._result, "state", b""))

    @property
    def _has_lines(self) -> bool:
        return bool(self._lines or self._logs_sent)

    def _take_state(self, state: bytes) -> StateSaved:
        self._seq += 1
        self._state_sent = StateSaved(self.job_id, self.lease_id, self._seq, state)
        self._state = None
        self._states_sent = self._states
        return self._state_sent

    def _take_result(self, result: Result) -> Result:
        self._is_result_sent = True
        if result.seq == 0:
            self._seq += 1
            self._result = result = msgspec.structs.replace(result, seq=self._seq)
        return result

    def _decide_in_flight(self) -> InFlight:
        """What to say now. Names that only a waiting state makes superfluous stay until that is on its way."""
        new, old = self._in_flight, self._in_flight_sent
        if self._result is not None:
            return old
        if self._state is None:
            return new
        return InFlight(
            self.job_id,
            self.lease_id,
            tuple(dict.fromkeys((*new.creating, *old.creating))),
            tuple(dict.fromkeys((*new.destroying, *old.destroying))),
            new.planned,
        )

    def _take_lines(self) -> list[Logs]:
        messages = list(self._logs_again)
        self._logs_again.clear()
        if self._dropped and self._lines:
            state, first = self._lines[0]
            text = f"{self._dropped} lines are missing here: the server was away for too long."
            self._lines[0] = (state, msgspec.structs.replace(first, output=f"{text}\n{first.output}"))
            self._dropped = 0
        while len(self._logs_sent) < MAX_UNACKNOWLEDGED or self._result is not None:
            lines = tuple(self._take_some())
            if not lines:
                break
            self._seq += 1
            self._logs_sent.append(Logs(self.job_id, self.lease_id, lines, self._seq))
            messages.append(self._logs_sent[-1])
        return messages

    def _take_some(self) -> list[JobLogLine]:
        """The next lines that may go in one message."""
        lines: list[JobLogLine] = []
        while self._lines and len(lines) < LINES_PER_MESSAGE and self._lines[0][0] <= self._states_sent:
            lines.append(self._lines.popleft()[1])
        return lines
