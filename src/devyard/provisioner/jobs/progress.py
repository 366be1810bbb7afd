"""Terraform's `-json` lines: as log lines for people, and as facts for the job.

One per run of Terraform. Invariant: no line is lost: what is no event of ours to know is passed on as it is.
Format: developer.hashicorp.com/terraform/internals/machine-readable-ui.
"""

from datetime import UTC, datetime

import msgspec

from devyard.provisioner.jobs.joblog import JobLog
from devyard.wire.enums import LogLevel
from devyard.wire.provisionerresults import Timing

MAX_DIAGNOSTICS = 50
MAX_TIMINGS = 1000
_ERROR_LENGTH = 600

_LEVELS: dict[str, LogLevel] = {
    "version": "debug",
    "outputs": "debug",
    "refresh_start": "debug",
    "refresh_complete": "debug",
    "apply_errored": "error",
    "provision_errored": "error",
}


class _Resource(msgspec.Struct):
    addr: str = ""


class Hook(msgspec.Struct):
    """What Terraform does to a resource, or is about to (`planned_change`)."""

    resource: _Resource = msgspec.field(default_factory=_Resource)
    action: str = ""
    id_value: str | None = None


class _Position(msgspec.Struct):
    line: int = 0


class _Range(msgspec.Struct):
    filename: str = ""
    start: _Position = msgspec.field(default_factory=_Position)


class _Snippet(msgspec.Struct):
    code: str = ""
    start_line: int = 0
    context: str | None = None


class Diagnostic(msgspec.Struct):
    """What Terraform has to say about something, with the place."""

    severity: str = "error"
    summary: str = ""
    detail: str = ""
    address: str = ""
    range: _Range | None = None
    snippet: _Snippet | None = None

    def sentence(self) -> str:
        """In one sentence, with file and line."""
        detail = " ".join(self.detail.split())
        first = detail.split(". ", 1)[0].rstrip(".") if detail else ""
        place = f"{self.range.filename}:{self.range.start.line}" if self.range else self.address
        text = ": ".join(part for part in (place, self.summary.rstrip("."), first) if part)
        return (text[:_ERROR_LENGTH] + " …" if len(text) > _ERROR_LENGTH else text) + "."

    def lines(self) -> list[str]:
        """For the log, with the lines of the template that it is about."""
        lines = [f"{self.severity.capitalize()}: {self.summary}"]
        if self.range:
            context = f", in {self.snippet.context}" if self.snippet and self.snippet.context else ""
            lines.append(f"  on {self.range.filename} line {self.range.start.line}{context}:")
        elif self.address:
            lines.append(f"  with {self.address}:")
        if self.snippet and self.snippet.code:
            for number, code in enumerate(self.snippet.code.splitlines(), start=self.snippet.start_line):
                lines.append(f"  {number:>4}: {code}")
        return lines + self.detail.splitlines()


class Event(msgspec.Struct):
    """One line of `-json` output."""

    type: str = ""
    message: str = msgspec.field(default="", name="@message")
    level: str = msgspec.field(default="info", name="@level")
    timestamp: str = msgspec.field(default="", name="@timestamp")
    hook: Hook | None = None
    change: Hook | None = None
    diagnostic: Diagnostic | None = None


_decode = msgspec.json.Decoder(Event)


class Progress:
    """What a run of Terraform has said so far. `stage`: the timings' stage (plan, apply, init)."""

    def __init__(self, log: JobLog, stage: str) -> None:
        self.errors: list[Diagnostic] = []
        self.timings: list[Timing] = []
        self._log = log
        self._stage = stage
        self._running: dict[str, tuple[str, datetime]] = {}

    def on_line(self, line: bytes) -> None:
        """Takes a line of standard output."""
        try:
            event = _decode.decode(line)
        except msgspec.DecodeError:
            self.on_error_line(line)
            return
        if event.type == "diagnostic" and event.diagnostic:
            self._take_diagnostic(event.diagnostic)
            return
        if event.hook:
            self._take_hook(event, event.hook)
        if event.change and event.type == "planned_change":
            self._take_planned(event.change.resource.addr, event.change.action)
        if event.message.strip():
            self._write(event.message, _decide_level(event))

    def on_error_line(self, line: bytes) -> None:
        """Takes a line of standard error, or one that is no event."""
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._write(text, "info")

    def _write(self, text: str, level: LogLevel) -> None:
        self._log.pass_on(text, level)

    def _take_planned(self, address: str, action: str) -> None:
        """Terraform will do this to a resource; of interest only where it is applied."""

    def _take_diagnostic(self, diagnostic: Diagnostic) -> None:
        is_error = diagnostic.severity == "error"
        if is_error and len(self.errors) < MAX_DIAGNOSTICS:
            self.errors.append(diagnostic)
        for text in diagnostic.lines():
            self._write(text, "error" if is_error else "warn")

    def _take_hook(self, event: Event, hook: Hook) -> None:
        address = hook.resource.addr
        if event.type == "apply_start":
            self._running[address] = (hook.action, _read_time(event.timestamp))
        elif event.type in ("apply_complete", "apply_errored"):
            action, started_at = self._running.pop(address, (hook.action, _read_time(event.timestamp)))
            if len(self.timings) < MAX_TIMINGS:
                ended_at = _read_time(event.timestamp)
                self.timings.append(Timing(self._stage, "terraform", action, address, started_at, ended_at))


def _decide_level(event: Event) -> LogLevel:
    is_read = event.hook is not None and event.hook.action == "read"
    if is_read and event.type in ("apply_start", "apply_complete"):
        return "debug"  # data sources: of interest only while a slow one is read
    return _LEVELS.get(event.type, "warn" if event.level == "warn" else "info")


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
