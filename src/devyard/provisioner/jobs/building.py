"""A workspace build: `terraform apply`, with the state safe at every moment.

Called by run.py. Invariant (docs/design/builds.md): whatever ends the build, the newest complete state is in
its result, and what Terraform made beyond that state is named.
"""

import asyncio

from devyard.provisioner.engine.process import WorkerLost
from devyard.provisioner.engine.stopping import Stop, Stopped
from devyard.provisioner.jobs.applying import ApplyProgress
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.statewatch import StateWatch
from devyard.provisioner.jobs.workplace import (
    JobFailed,
    JobLink,
    Tools,
    Workplace,
    check_exit,
    make_context,
    open_workplace,
    warn_of_old_terraform,
)
from devyard.provisioner.results.agents import TemplateError
from devyard.provisioner.results.instances import (
    Instance,
    has_resources,
    list_ids,
    read_head,
    read_state,
)
from devyard.provisioner.results.resources import Collected, collect_resources
from devyard.wire.provisionerlink import BuildDone, BuildJob, Failed, Job
from devyard.wire.provisionerresults import ResourceResult

_STAGES = {
    "start": ("Starting workspace", "Applying the template to start the workspace."),
    "stop": ("Stopping workspace", "Applying the template to stop the workspace."),
    "delete": ("Deleting workspace", "Destroying everything that the workspace has."),
}
_FLAGS = {
    # A start looks at what is really there, so that what was removed behind our back is made again.
    "start": ["apply", "-auto-approve"],
    "stop": ["apply", "-auto-approve", "-refresh=false"],
    "delete": ["apply", "-destroy", "-auto-approve", "-refresh=false"],
}


class BuildFailed(Exception):
    """The build ended without success; `result` says how and holds the state."""

    def __init__(self, result: Failed) -> None:
        super().__init__(result.error)
        self.result = result


async def build_workspace(
    tools: Tools, job: Job, work: BuildJob, link: JobLink, log: JobLog, stop: Stop
) -> BuildDone:
    """Brings the workspace into the wanted state.

    Raises BuildFailed once Terraform has started; before that JobFailed, ArchiveError, Stopped.
    """
    prior = _read_prior(work)
    log.secrets.add_agents(prior)
    log.begin("Setting up", f"Preparing to {work.transition} the workspace.")
    warn_of_old_terraform(tools.terraform, log)
    if work.transition == "delete" and not has_resources(work.state):
        log.begin(_STAGES["delete"][0], "The workspace has no resources; there is nothing to destroy.")
        return BuildDone(job_id=job.job_id, lease_id=job.lease_id, seq=0, state=work.state, resources=())
    async with open_workplace(tools, job, link, log, stop, work.state) as place:
        return await _Build(job, work, place, log, link).run()


class _Build:
    def __init__(self, job: Job, work: BuildJob, place: Workplace, log: JobLog, link: JobLink) -> None:
        self._job = job
        self._work = work
        self._place = place
        self._log = log
        self._link = link
        self._progress = ApplyProgress(log, list_ids(read_state(work.state)), self._on_change)
        self._reported = self._progress.list_in_flight()
        self._watch = StateWatch(place.directory, work.state, link.keep_state, self._save)

    async def run(self) -> BuildDone:
        self._log.begin(*_STAGES[self._work.transition])
        context = make_context(
            self._work.context,
            self._work.transition,
            dict(self._work.parameters),
            dict(self._work.previous_parameters),
        )
        self._place.announce(context)
        try:
            await self._apply()
            state = await self._finish_watch()
            resources = self._collect(state)
            self._place.lane.leaves_programs = True
        except (JobFailed, TemplateError, WorkerLost, Stopped) as error:
            raise BuildFailed(await self._describe_failure(error)) from error
        return BuildDone(
            job_id=self._job.job_id,
            lease_id=self._job.lease_id,
            seq=0,
            state=state,
            resources=resources,
            timings=(*self._place.timings, *self._progress.timings),
        )

    async def _apply(self) -> None:
        watching = asyncio.create_task(self._watch.run(), name="watch state")
        try:
            with self._place.timed("apply"):
                code = await self._place.run(self._progress, self._list_flags())
        finally:
            self._watch.stop()
            await asyncio.wait([watching])
        if code == 0:
            return  # done, even if somebody wanted to cancel it in the last moment
        check_exit(code, self._progress, self._place.stop, "terraform apply")

    def _list_flags(self) -> list[str]:
        flags = _FLAGS[self._work.transition]
        # A delete that looks first fails on what can't be looked at, and destroying what is gone does no harm.
        is_looking = self._work.refresh and self._work.transition == "stop"
        return [flag for flag in flags if not (is_looking and flag.startswith("-refresh"))]

    def _on_change(self) -> None:
        """Terraform began or ended something: its file is about to change, and the server should know."""
        if self._progress.is_waiting:
            self._watch.hurry()
        self._report()

    def _save(self, state: bytes) -> None:
        """A newer state: sent first, then what it shows and the lines that waited for it."""
        self._link.save_state(state)
        self._progress.take_saved(list_ids(read_state(state)))
        self._report()

    def _report(self) -> None:
        in_flight = self._progress.list_in_flight()
        if in_flight != self._reported:
            self._reported = in_flight
            self._link.report_in_flight(*in_flight)

    async def _finish_watch(self) -> bytes:
        """The newest state; lines that wait for it are let go."""
        state = await self._watch.finish(saves=self._progress.is_waiting)
        self._progress.let_go()
        return state

    def _collect(self, state: bytes) -> tuple[ResourceResult, ...]:
        instances = read_state(state)
        self._log.secrets.add_agents(instances)
        try:
            collected = collect_resources(instances, self._work.agent_resources)
        except TemplateError as error:
            if self._work.transition == "start":
                raise
            self._log.say(str(error), "warn")  # a stop has done its work all the same
            collected = Collected(())
        for text in collected.warnings:
            self._log.say(text, "warn")
        return collected.resources

    async def _describe_failure(self, error: Exception) -> Failed:
        state = await self._finish_watch()
        orphans = self._progress.list_unsaved(list_ids(read_state(state)))
        is_bounded = isinstance(error, Stopped | WorkerLost | JobFailed)
        reason = await asyncio.to_thread(self._place.bounds.explain) if is_bounded else ""
        is_canceled = isinstance(error, Stopped) and not (reason or self._place.stop.is_failure)
        if not reason:
            self._say_failure(error)
        self._say_orphans(orphans)
        return Failed(
            job_id=self._job.job_id,
            lease_id=self._job.lease_id,
            seq=0,
            error=reason or _sentence(error, self._place.stop),
            outcome="canceled" if is_canceled else "failed",
            state=state if self._watch.is_newer else b"",
            possible_orphans=orphans,
            timings=(*self._place.timings, *self._progress.timings),
        )

    def _say_failure(self, error: Exception) -> None:
        if isinstance(error, Stopped):
            self._log.say("The build was stopped; what had been made is kept in the workspace's state.", "warn")
        elif isinstance(error, WorkerLost):
            self._log.say(f"Terraform crashed: {error}", "error")

    def _say_orphans(self, orphans: tuple[str, ...]) -> None:
        for orphan in orphans:
            self._log.say(
                f"{orphan} may exist though Terraform's state does not know it; look for it where it would be.",
                "error",
            )


def _sentence(error: Exception, stop: Stop) -> str:
    if isinstance(error, Stopped):
        return stop.reason or "The build was canceled."
    if isinstance(error, WorkerLost):
        return "Terraform crashed while it applied; the state up to that moment is kept."
    return str(error)


def _read_prior(work: BuildJob) -> list[Instance]:
    if not work.state.strip():
        return []
    try:
        if read_head(work.state) is None:
            raise ValueError("it is no state of format version 4")
        return read_state(work.state)
    except ValueError as error:
        raise JobFailed(
            f"The workspace's Terraform state can't be read ({error}); an administrator has to repair it."
        ) from error
