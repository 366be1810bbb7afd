"""The import of a template version: what it asks for and what it makes, from plans for a start and for a stop.

Called by run.py. Nothing is applied and no state is read. Invariant: what is reported comes from Terraform and
our provider; only `variable` blocks are read from the files themselves.
"""

import asyncio
from collections.abc import Iterable

from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.forms.pruning import is_dynamic
from devyard.provisioner.jobs.bounds import check_declared
from devyard.provisioner.jobs.joblog import JobLog
from devyard.provisioner.jobs.packing import pack_version
from devyard.provisioner.jobs.workplace import (
    JobFailed,
    JobLink,
    Tools,
    Workplace,
    make_context,
    open_workplace,
    warn_of_old_terraform,
)
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.results.graph import Graph, find_agent_resources, parse_graph
from devyard.provisioner.results.instances import read_plan
from devyard.provisioner.results.resources import Collected, collect_resources
from devyard.wire.provisionerlink import ImportDone, ImportJob, Job
from devyard.wire.provisionerresults import PresetResult


async def import_version(
    tools: Tools, job: Job, work: ImportJob, link: JobLink, log: JobLog, stop: Stop
) -> ImportDone:
    """What the version asks for and makes. Raises JobFailed, TemplateError, ArchiveError, Stopped."""
    log.begin("Setting up", "Preparing the template.")
    warning = warn_of_old_terraform(tools.terraform, log)
    async with open_workplace(tools, job, link, log, stop) as place:
        if problem := await asyncio.to_thread(check_declared, place.template.files):
            raise JobFailed(problem)
        log.begin("Detecting ephemeral resources", "Planning a start.")
        start_plan, capture = await place.plan(make_context(work.context, "start"), "start.tfplan")
        log.begin("Detecting persistent resources", "Planning a stop.")
        stop_plan, _ = await place.plan(make_context(work.context, "stop"), "stop.tfplan")
        log.begin("Building dependency graph", "Finding out which resource each agent runs in.")
        graph = await _read_graph(place)
        starting, stopping = _collect(start_plan, graph), _collect(stop_plan, graph)
        warnings = dict.fromkeys((*([warning] if warning else []), *starting.warnings, *stopping.warnings))
        for text in (*starting.warnings, *stopping.warnings):
            log.say(text, "warn")
        with place.timed("pack"):
            packed = await pack_version(tools, job, place.template, link, log)
        done = ImportDone(
            job_id=job.job_id,
            lease_id=job.lease_id,
            seq=0,
            parameters=tuple(parameter.definition for parameter in capture.parameters),
            variables=place.template.variables,
            presets=tuple(_list_presets(capture)),
            start_resources=starting.resources,
            stop_resources=stopping.resources,
            agent_resources=find_agent_resources(graph),
            external_auths=tuple(dict.fromkeys(auth.id for auth in capture.external_auths)),
            readme=place.template.read_readme(),
            warnings=(*warnings, *packed.warnings),
            timings=tuple(place.timings),
            dynamic_parameters=await asyncio.to_thread(is_dynamic, place.template.files),
            packages=packed.packages,
            lock_file=packed.lock_file,
            workspace_tags={key: value for tags in capture.workspace_tags for key, value in tags.items()},
        )
    if packed.packages:
        await tools.templates.forget(job.archive)
    return done


async def _read_graph(place: Workplace) -> Graph:
    with place.timed("graph"):
        text = await place.lane.read(place.directory, ["graph"], place.stop)
    return parse_graph(text.decode("utf-8", "replace"))


def _collect(plan: bytes, graph: Graph) -> Collected:
    return collect_resources(read_plan(plan), find_agent_resources(graph), graph)


def _list_presets(capture: Capture) -> Iterable[PresetResult]:
    for preset in capture.presets:
        yield PresetResult(
            name=preset.name,
            parameters=preset.parameters,
            is_default=preset.is_default,
            description=preset.description,
            icon=preset.icon,
        )
