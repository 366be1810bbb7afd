"""Where a job runs: its template ready, its directory made, a lane of Terraform, and the provider told who asks.

The three kinds of jobs open one, run commands in it and read the results. Invariant: everything opened here is
gone when the job has ended, by whatever way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from devyard.provisioner.context import BuildContext, OwnerRole
from devyard.provisioner.engine.backend import check_version
from devyard.provisioner.engine.lane import CommandFailed, Lane
from devyard.provisioner.engine.process import WorkerLost
from devyard.provisioner.engine.stopping import Stop, Stopped
from devyard.provisioner.engine.terraform import Terraform
from devyard.provisioner.initscript import list_init_scripts
from devyard.provisioner.jobs.bounds import Bounds, watch_bounds
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.progress import Progress
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.templates.cache import Template, TemplateCache
from devyard.provisioner.templates.restoring import Packs
from devyard.provisioner.templates.room import explained_full_disk
from devyard.provisioner.templates.variables import find_missing, find_unknown, render_values
from devyard.provisioner.templates.workdir import VALUES_FILE, make_work_directory, remove_work_directory
from devyard.wire.enums import JobErrorCode, Transition
from devyard.wire.provisionerlink import Archive, Job, JobLogLine, Limits, Variable, WorkspaceContext
from devyard.wire.provisionerpackages import Package
from devyard.wire.provisionerresults import Timing

_INIT_SCRIPTS = list_init_scripts()


class Tools(msgspec.Struct, frozen=True):
    """What every job of this provisioner uses. `work_root`: where job directories are made."""

    terraform: Terraform
    templates: TemplateCache
    work_root: Path


class JobLink(Protocol):
    """What a job needs of the session that runs it. No call blocks."""

    def send_log(self, line: JobLogLine) -> None:
        """Sends a line of the log, soon."""
        ...

    def save_state(self, state: bytes) -> None:
        """Sends a newer state, soon; of several only the newest."""
        ...

    def keep_state(self, state: bytes) -> None:
        """Writes a newer state down on this machine. Blocks: call it in a thread."""
        ...

    def report_in_flight(
        self, creating: tuple[str, ...], destroying: tuple[str, ...], planned: tuple[str, ...]
    ) -> None:
        """Says what is being made and removed beyond the newest state."""
        ...

    def fetch(self, archive: Archive, target: Path) -> Awaitable[None]:
        """Downloads a template's archive."""
        ...

    def fetch_package(self, package: Package, target: Path) -> Awaitable[None]:
        """Downloads a package that the job names."""
        ...

    def offer_package(self, package: Package, prepare: Callable[[], Awaitable[Path]]) -> Awaitable[str]:
        """Brings a package to the server; why it was not taken, or nothing. `prepare` makes its file if needed."""
        ...


class JobFailed(Exception):
    """The job can't succeed; the text is the one sentence that people see."""

    def __init__(self, message: str, code: JobErrorCode = "") -> None:
        super().__init__(message)
        self.code = code


class Workplace:
    """A job's directory and lane. Use `open_workplace`."""

    def __init__(
        self, lane: Lane, directory: Path, template: Template, log: JobLog, stop: Stop, bounds: Bounds
    ) -> None:
        self.lane = lane
        self.bounds = bounds
        self.directory = directory
        self.template = template
        self.log = log
        self.stop = stop
        self.timings: list[Timing] = []

    def announce(self, context: BuildContext) -> Capture:
        """Tells the provider who asks in the next run of Terraform."""
        capture = self.lane.provider.use(context)
        self.log.secrets.follow(capture.created)
        self.bounds.capture = capture
        return capture

    @contextmanager
    def timed(self, stage: str) -> Any:
        """Keeps the time that the body takes."""
        started_at = datetime.now(UTC)
        try:
            yield
        finally:
            self.timings.append(Timing(stage, "provisioner", stage, "", started_at, datetime.now(UTC)))

    async def plan(self, context: BuildContext, name: str) -> tuple[bytes, Capture]:
        """The plan as JSON, made without state and refresh. Raises JobFailed with Terraform's first error."""
        capture = self.announce(context)
        progress = Progress(self.log, "plan")
        with self.timed("plan"):
            code = await self.run(progress, ["plan", f"-out={name}", "-refresh=false"])
        check_exit(code, progress, self.stop, "terraform plan")
        return await self.lane.read(self.directory, ["show", "-json", "-no-color", name], self.stop), capture

    async def run(self, progress: Progress, argv: list[str]) -> int:
        """Runs plan or apply with the flags that all have; its exit code."""
        common = ["-json", "-input=false", "-lock=false"]
        if self.template.variables:
            common.append(f"-var-file={VALUES_FILE}")
        words = [argv[0], *common, *argv[1:]]

        def on_line(line: bytes) -> None:
            self.bounds.output_bytes += len(line)
            progress.on_line(line)

        return await self.lane.run(self.directory, words, on_line, progress.on_error_line, self.stop)


@asynccontextmanager
async def open_workplace(
    tools: Tools, job: Job, link: JobLink, log: JobLog, stop: Stop, state: bytes = b""
) -> AsyncIterator[Workplace]:
    """Makes everything ready for a job. Raises JobFailed, ArchiveError, Stopped."""
    started_at, clock = datetime.now(UTC), time.monotonic()
    variables = job.work.variables
    await tools.terraform.configure(job.terraform.cli_config)
    packs = Packs(job.packages, job.lock_file, tools.terraform.platform, link.fetch_package, log.say)
    async with AsyncExitStack() as stack:
        bounds = await stack.enter_async_context(watch_bounds(job.limits, stop, log))
        initialize = _Initialize(tools.terraform, log, stop, bounds, job.limits)
        cached = tools.templates.use(job.archive, link.fetch, initialize.run, packs)
        template = await stack.enter_async_context(cached)
        log.secrets.add_variables(template.variables, variables)
        _check_variables(template, variables, log)
        values = render_values(template.variables, variables)
        with explained_full_disk(tools.work_root):
            directory = await asyncio.to_thread(make_work_directory, tools.work_root, template, state, values)
        try:
            async with tools.terraform.lane(template.lane_key) as lane:
                await asyncio.to_thread(lane.fence.set_limits, job.limits)
                bounds.lane, bounds.directory = lane, directory
                workplace = Workplace(lane, directory, template, log, stop, bounds)
                workplace.timings.append(
                    Timing("prepare", "provisioner", "prepare", "", started_at, datetime.now(UTC))
                )
                log.say(f"The template is ready ({(time.monotonic() - clock) * 1000:.0f} ms).", "debug")
                try:
                    yield workplace
                except (WorkerLost, CommandFailed, JobFailed) as error:
                    if reason := await asyncio.to_thread(bounds.explain):
                        raise JobFailed(reason) from error
                    raise
        finally:
            await asyncio.to_thread(remove_work_directory, directory)


def check_exit(code: int, progress: Progress, stop: Stop, command: str) -> None:
    """Returns if a command succeeded. Raises Stopped, or JobFailed with the first error."""
    if stop.is_requested:
        raise Stopped
    if code == 0:
        return
    if progress.errors:
        raise JobFailed(progress.errors[0].sentence())
    raise JobFailed(f"{command} ended with exit code {code}; the job's log says why.")


def make_context(
    context: WorkspaceContext,
    transition: Transition,
    parameters: dict[str, str] | None = None,
    previous: dict[str, str] | None = None,
) -> BuildContext:
    """What the provider answers with."""
    same = {name: getattr(context, name) for name in context.__struct_fields__ if name != "owner_roles"}
    return BuildContext(
        **same,
        transition=transition,
        owner_roles=tuple(OwnerRole(name, org_id) for name, org_id in context.owner_roles),
        parameters=parameters or {},
        previous_parameters=previous or {},
        agent_init_scripts=_INIT_SCRIPTS,
    )


def _check_variables(template: Template, variables: tuple[Variable, ...], log: JobLog) -> None:
    missing = find_missing(template.variables, variables)
    if missing:
        names = ", ".join(missing)
        raise JobFailed(
            f"The template's variables need values: {names}. Give them with --variable NAME=VALUE.",
            "REQUIRED_TEMPLATE_VARIABLES",
        )
    for name in find_unknown(template.variables, variables):
        log.say(f'A value was given for "{name}", which is no variable of this template; it is ignored.', "warn")


def warn_of_old_terraform(terraform: Terraform, log: JobLog) -> str | None:
    """Says in the log that this Terraform is old, if it is."""
    warning = check_version(terraform.version)
    if warning:
        log.say(warning, "warn")
    return warning


class _Initialize:
    """`terraform init` in a template's directory, with its progress in the job's log."""

    def __init__(self, terraform: Terraform, log: JobLog, stop: Stop, bounds: Bounds, limits: Limits) -> None:
        self._terraform = terraform
        self._bounds = bounds
        self._limits = limits
        self._log = log
        self._stop = stop

    async def run(self, directory: Path) -> None:
        stage = self._log.stage
        self._log.begin("Initializing Terraform", "Fetching the modules and providers that the template uses.")
        progress = Progress(self._log, "init")
        async with self._terraform.lane("") as lane:
            await asyncio.to_thread(lane.fence.set_limits, self._limits)
            self._bounds.lane, self._bounds.directory = lane, directory
            code = await lane.run(
                directory,
                ["init", "-input=false", "-json"],
                progress.on_line,
                progress.on_error_line,
                self._stop,
            )
        check_exit(code, progress, self._stop, "terraform init")
        self._log.stage = stage
