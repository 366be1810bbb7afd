"""A job's log on a person's terminal: stages with their durations, the lines of each, and how it ended.

Called by every command that waits for Terraform. The lines go to the stream that the caller names: a command
whose stdout carries something else writes them to stderr.
"""

import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple, TextIO

from devyard.cli.failures import EXIT_INTERRUPTED, CommandFailed
from devyard.cli.output import note, plain
from devyard.cli.queueing import PATIENCE_S, QueueDisplay, warn_unmatched
from devyard.sdk import builds, provisioners, templates
from devyard.sdk.client import Client
from devyard.sdk.logstream import follow_job_log
from devyard.wire.jobs import ProvisionerJob, ProvisionerJobLog
from devyard.wire.templates import TemplateVersion
from devyard.wire.workspaces import WorkspaceBuild

SECOND_THOUGHTS_S = 2.0
ENDED = frozenset({"succeeded", "failed", "canceled"})


class JobLogPrinter:
    """Prints lines as they come; a stage is closed by the next one."""

    def __init__(self, stream: TextIO, *, is_verbose: bool = False) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._is_verbose = is_verbose
        self._stage = ""
        self._stage_began: datetime | None = None
        self._last: datetime | None = None

    def line(self, log: ProvisionerJobLog) -> None:
        """One line of the log."""
        if log.stage != self._stage:
            self._end_stage(log.created_at)
            self._stage, self._stage_began = log.stage, log.created_at
            self._write(self._bold(f"==> {plain(log.stage)}"))
        self._last = log.created_at
        if log.output and (self._is_verbose or log.log_level not in ("trace", "debug")):
            text = plain(log.output)
            self._write(f"    {text if log.log_level != 'error' else self._red(text)}")

    def end(self) -> None:
        """After the last line."""
        self._end_stage(self._last)
        self._stream.flush()

    def _end_stage(self, at: datetime | None) -> None:
        if self._stage_began is not None and at is not None:
            took = (at - self._stage_began).total_seconds()
            if took >= 0.05:
                self._write(f"    ({took:.1f} s)")
        self._stage_began = None

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._is_terminal else text

    def _red(self, text: str) -> str:
        return f"\x1b[31m{text}\x1b[0m" if self._is_terminal else text


def print_job_log(lines: Iterable[ProvisionerJobLog], stream: TextIO, *, is_verbose: bool = False) -> None:
    """Prints a whole log."""
    printer = JobLogPrinter(stream, is_verbose=is_verbose)
    for line in lines:
        printer.line(line)
    printer.end()


class Followed(NamedTuple):
    """A job to follow: where its log is, how its state is asked for, and how messages call it."""

    path: str
    refresh: Callable[[], ProvisionerJob]
    label: str
    cancel_hint: str
    """The command that ends it later."""


def follow_build(
    client: Client, build: WorkspaceBuild, *, stream: TextIO | None = None, is_verbose: bool = False
) -> WorkspaceBuild:
    """Shows a build's log until it has ended. Raises CommandFailed when it did not succeed."""
    current = build

    def refresh() -> ProvisionerJob:
        nonlocal current
        current = builds.get_build(client, build.id)
        return current.job

    workspace = f"{build.workspace_owner_name}/{build.workspace_name}"
    label = f"Build {build.build_number} of {workspace}"
    warn_unmatched(build.matched_provisioners, build.job)
    followed = Followed(f"/workspacebuilds/{build.id}/logs", refresh, label, f"devyard cancel {workspace}")
    job = follow_job(client, followed, stream or sys.stdout, is_verbose=is_verbose)
    check_end(job, f"{label} ({build.transition})")
    return current


def follow_import(
    client: Client, version: TemplateVersion, *, stream: TextIO | None = None, is_verbose: bool = False
) -> TemplateVersion:
    """Shows a version's import until it has ended. Raises CommandFailed when it did not succeed."""
    current = version

    def refresh() -> ProvisionerJob:
        nonlocal current
        current = templates.get_version(client, version.id)
        return current.job

    label = f"The import of version {version.name}"
    warn_unmatched(version.matched_provisioners, version.job)
    cancel_hint = f"devyard provisioner jobs cancel {version.job.id}"
    followed = Followed(f"/templateversions/{version.id}/logs", refresh, label, cancel_hint)
    job = follow_job(client, followed, stream or sys.stdout, is_verbose=is_verbose)
    check_end(job, label)
    return current


def follow_job(client: Client, followed: Followed, stream: TextIO, *, is_verbose: bool = False) -> ProvisionerJob:
    """Shows a job's log until it has ended, however it ends. Raises CommandFailed after Ctrl-C."""
    ended: list[ProvisionerJob] = []
    queue = QueueDisplay()
    printer = JobLogPrinter(stream, is_verbose=is_verbose)
    has_begun = False

    def is_over() -> bool:
        job = followed.refresh()
        if job.status in ENDED:
            ended.append(job)
        return bool(ended)

    def look_at_queue() -> None:
        if not has_begun:
            queue.show(followed.refresh())

    try:
        for line in follow_job_log(client, followed.path, is_over, look_at_queue, PATIENCE_S):
            if not has_begun:
                has_begun = True
                queue.clear()
            printer.line(line)
        queue.clear()
        printer.end()
    except KeyboardInterrupt:
        queue.clear()
        _leave(client, followed)
        raise CommandFailed("", EXIT_INTERRUPTED) from None
    while not ended and not is_over():
        time.sleep(0.2)
    return ended[0]


def _leave(client: Client, followed: Followed) -> None:
    """After Ctrl-C: a job goes on, but a second one in the next moments ends it too."""
    if not sys.stdin.isatty():
        note(f"\n{followed.label} goes on without you. Cancel it with: {followed.cancel_hint}")
        return
    try:
        note(f"\n{followed.label} goes on without you. Press Ctrl-C again now to cancel it.")
        time.sleep(SECOND_THOUGHTS_S)
    except KeyboardInterrupt:
        provisioners.cancel_job(client, followed.refresh())
        note(f"\n{followed.label} is being canceled.")
    else:
        note(f"Cancel it later with: {followed.cancel_hint}")


def check_end(job: ProvisionerJob, what: str) -> None:
    """Raises CommandFailed when the job did not succeed."""
    if job.status == "succeeded":
        return
    if job.status == "canceled":
        raise CommandFailed(f"{what} was canceled.")
    reason = job.error if isinstance(job.error, str) and job.error else "no reason was given"
    raise CommandFailed(f"{what} failed: {reason}")
