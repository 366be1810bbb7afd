"""A dry run: what a start with given parameter values would make. Called by run.py; nothing is applied."""

from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.workplace import JobLink, Tools, make_context, open_workplace
from devyard.provisioner.results.graph import parse_graph
from devyard.provisioner.results.instances import read_plan
from devyard.provisioner.results.resources import collect_resources
from devyard.wire.provisionerlink import DryRunDone, DryRunJob, Job


async def plan_start(
    tools: Tools, job: Job, work: DryRunJob, link: JobLink, log: JobLog, stop: Stop
) -> DryRunDone:
    """The resources of a planned start. Raises JobFailed, TemplateError, ArchiveError, Stopped."""
    log.begin("Setting up", "Preparing the template.")
    async with open_workplace(tools, job, link, log, stop) as place:
        log.begin("Planning infrastructure", "Planning a start with these values.")
        context = make_context(work.context, "start", dict(work.parameters))
        plan, _ = await place.plan(context, "start.tfplan")
        text = await place.lane.read(place.directory, ["graph"], stop)
        graph = parse_graph(text.decode("utf-8", "replace"))
        collected = collect_resources(read_plan(plan), work.agent_resources, graph)
        return DryRunDone(job_id=job.job_id, lease_id=job.lease_id, seq=0, resources=collected.resources)
