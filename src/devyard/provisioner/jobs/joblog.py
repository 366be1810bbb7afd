"""A job's log as people read it: lines with a stage, a level and a source, free of secrets, bounded.

Jobs write, the session sends. Invariant: after `MAX_BYTES` one line says that the rest is missing, and nothing
more is kept, whatever a template prints, but what the provisioner itself has to say at the end.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from devyard.provisioner.jobs.secrets import Secrets
from devyard.wire.enums import LogLevel, LogSource
from devyard.wire.provisionerlink import JobLogLine

MAX_BYTES = 2 << 20
RESERVE_BYTES = 32 << 10
MAX_LINE_CHARACTERS = 8192


class JobLog:
    """The log of one job. `stage` is what the lines from now on belong to."""

    def __init__(self, send: Callable[[JobLogLine], None], secrets: Secrets, *, has_details: bool = False) -> None:
        self.secrets = secrets
        self.stage = "Setting up"
        self._send = send
        self._has_details = has_details
        self._left_bytes = MAX_BYTES
        self._reserve_bytes = RESERVE_BYTES

    def begin(self, stage: str, text: str) -> None:
        """A new stage, with its first line."""
        self.stage = stage
        self.say(text)

    def say(self, text: str, level: LogLevel = "info") -> None:
        """A line of the provisioner's own."""
        self._write(text, level, "provisioner_daemon")

    def pass_on(self, text: str, level: LogLevel) -> None:
        """A line of Terraform's. Details (below info) are left out unless the build asked for them."""
        if self._has_details or level not in ("trace", "debug"):
            self._write(text, level, "provisioner")

    def _write(self, text: str, level: LogLevel, source: LogSource) -> None:
        if self._left_bytes <= 0:
            if source == "provisioner" or self._reserve_bytes <= 0:
                return
            self._reserve_bytes -= len(text) + 64
        clean = self.secrets.clean(text)
        if len(clean) > MAX_LINE_CHARACTERS:
            clean = clean[:MAX_LINE_CHARACTERS] + " …"
        was_full = self._left_bytes <= 0
        self._left_bytes -= len(clean) + 64
        if self._left_bytes <= 0 and not was_full:
            clean, level = f"The log has more than {MAX_BYTES >> 20} MiB; the rest is left out.", "warn"
        self._send(JobLogLine(datetime.now(UTC), source, level, self.stage, clean.replace("\x00", "")))
