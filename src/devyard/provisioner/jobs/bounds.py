"""Watches what a job uses while it runs, and ends one that goes beyond its limits with a reason for people.

Opened by workplace.py around the whole job. Invariant: whatever a template does, its job ends in bounded time,
memory, disk and number of processes, with Terraform given the chance to save its state.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from devyard.provisioner.engine.lane import Lane
from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.provider.capture import Capture
from devyard.wire.provisionerlink import Limits

INTERVAL_S = 0.25
MAX_FILES = 200_000
MAX_PARAMETERS = 500
"""A form with more is no form, and the server refuses it too. Real templates have fewer than fifty."""
MAX_OUTPUT_BYTES = 128 << 20
"""Of Terraform's JSON, which makes 490 bytes of a line of 50: Terraform needs a minute of a core for that much."""
OVERRUN_GRACE_S = 10.0
_DECLARATION = re.compile(rb'^[ \t]*data[ \t]+"(?:coder|devyard)_parameter"', re.MULTILINE)


class Bounds:
    """What one job may use. `lane`, `directory` and `capture` are what is in use at the moment."""

    def __init__(self, limits: Limits, stop: Stop, log: JobLog) -> None:
        self.lane: Lane | None = None
        self.directory: Path | None = None
        self.capture: Capture | None = None
        self.output_bytes = 0
        self._limits = limits
        self._stop = stop
        self._log = log
        self._deadline = time.monotonic() + limits.time_s

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            began = time.monotonic()
            reason = self._check_time() or self._check_output() or self._check_parameters()
            reason = reason or await asyncio.to_thread(self._check_use)
            if reason:
                await self._end(reason)
            took_s = time.monotonic() - began
            await asyncio.sleep(max(INTERVAL_S, 5 * took_s))

    def explain(self) -> str:
        """Why the job had to end, also where Terraform itself fell to it; empty where nothing was exceeded."""
        lane = self.lane
        if not self._stop.is_requested and lane:
            if lane.fence.has_run_out_of_tasks():
                return self._too_many_processes()
            if lane.fence.has_run_out_of_memory():
                return self._too_much_memory()
        return self._stop.reason if self._stop.is_failure else ""

    def _check_time(self) -> str:
        if time.monotonic() < self._deadline:
            return ""
        minutes = self._limits.time_s / 60
        limit = f"{minutes:.0f} minutes" if minutes >= 2 else f"{self._limits.time_s} seconds"
        return f"The job took longer than {limit} and was ended; an administrator can allow more."

    def _check_output(self) -> str:
        if self.output_bytes <= MAX_OUTPUT_BYTES:
            return ""
        size = MAX_OUTPUT_BYTES >> 20
        return f"Terraform and the template's scripts printed more than {size} MiB; they were ended."

    def _check_parameters(self) -> str:
        count = len(self.capture.parameters) if self.capture else 0
        if count <= MAX_PARAMETERS:
            return ""
        return _too_many_parameters(f"more than {MAX_PARAMETERS}")

    def _check_use(self) -> str:
        lane, limits = self.lane, self._limits
        if lane and (lane.fence.count_tasks() >= limits.processes or lane.fence.has_run_out_of_tasks()):
            return self._too_many_processes()
        if lane and (lane.fence.measure_memory() > limits.memory_mb << 20 or lane.fence.has_run_out_of_memory()):
            return self._too_much_memory()
        if self.directory:
            size_bytes, files = measure(self.directory, limits.disk_mb << 20)
            if size_bytes > limits.disk_mb << 20:
                return f"The job wrote more than {limits.disk_mb} MiB into its directory and was ended."
            if files > MAX_FILES:
                return f"The job wrote more than {MAX_FILES} files into its directory and was ended."
        return ""

    def _too_many_processes(self) -> str:
        return f"The template's scripts started more than {self._limits.processes} processes; all were ended."

    def _too_much_memory(self) -> str:
        return f"Terraform and the template's scripts needed more than {self._limits.memory_mb} MiB of memory."

    async def _end(self, reason: str) -> None:
        if not self._stop.is_requested:
            self._log.say(reason, "error")
            self._stop.grace_s = min(self._stop.grace_s, OVERRUN_GRACE_S)
            self._stop.end(reason)
        if self.lane:
            # Terraform itself and its plugins go on, to save what is there.
            await asyncio.to_thread(self.lane.kill_scripts)


@asynccontextmanager
async def watch_bounds(limits: Limits, stop: Stop, log: JobLog) -> AsyncIterator[Bounds]:
    """Watches as long as the body runs."""
    bounds = Bounds(limits, stop, log)
    task = asyncio.create_task(bounds.run(), name="watch bounds")
    try:
        yield bounds
    finally:
        task.cancel()
        await asyncio.wait([task])


def count_declared(directory: Path) -> int:
    """How many parameters the root module's files declare, by their text alone: Terraform would take minutes and
    gigabytes to plan some thousand of them.
    """
    paths = (path for path in directory.iterdir() if path.name.endswith((".tf", ".tofu")) and path.is_file())
    return sum(len(_DECLARATION.findall(path.read_bytes())) for path in paths)


def check_declared(directory: Path) -> str:
    """Why a template can't be planned at all, or nothing."""
    count = count_declared(directory)
    return _too_many_parameters(str(count)) if count > MAX_PARAMETERS else ""


def _too_many_parameters(count: str) -> str:
    return f"The template has {count} parameters; at most {MAX_PARAMETERS} are possible."


def measure(directory: Path, enough_bytes: int) -> tuple[int, int]:
    """(bytes on disk, files) under a directory, links not followed; stops counting where it is too much."""
    size_bytes = files = 0
    todo = [str(directory)]
    while todo and size_bytes <= enough_bytes and files <= MAX_FILES:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        size_bytes += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return size_bytes, files
