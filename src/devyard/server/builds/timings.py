"""Where a build's time went: spans without gaps from the request to the connected agent.

Called by the routes of builds and workspaces. The provisioner reports what it did (prepare, init, apply, each
resource); what happened around it is known from the job's own times: `queue` until a provisioner claimed it,
`claim` until that one began, `plan` until Terraform changed the first resource, `state` until the result was kept.
Pure but for `load_timings`.
"""

from collections.abc import Sequence
from datetime import datetime

from devyard.server.builds import timing_queries
from devyard.server.builds.queries import BuildRow
from devyard.server.db.pool import Executor
from devyard.server.jobs.queries import JobRow
from devyard.wire.provisionerresults import Timing
from devyard.wire.timings import AgentConnectionTiming, AgentScriptTiming, BuildTimings, ProvisionerTiming

SERVER = "devyard"


async def load_timings(executor: Executor, build: BuildRow) -> BuildTimings:
    """A build's timings from its job, its scripts and its agents."""
    reported = await timing_queries.get_timings(executor, build.id)
    scripts = await timing_queries.list_script_timings(executor, build.id)
    agents = await timing_queries.list_agent_timings(executor, build.id)
    return BuildTimings(
        provisioner_timings=[
            ProvisionerTiming(
                job_id=build.job.id,
                started_at=span.started_at,
                ended_at=span.ended_at,
                stage=span.stage,
                source=span.source,
                action=span.action,
                resource=span.resource,
            )
            for span in decide_spans(build.job, reported)
        ],
        agent_script_timings=[
            AgentScriptTiming(
                started_at=run.started_at,
                ended_at=run.ended_at,
                exit_code=run.exit_code,
                stage=run.stage,
                status=run.status,
                display_name=run.display_name,
                workspace_agent_id=run.agent_id,
                workspace_agent_name=run.agent_name,
            )
            for run in scripts
        ],
        agent_connection_timings=[
            AgentConnectionTiming(
                started_at=min(agent.created_at, agent.first_connected_at),
                ended_at=agent.first_connected_at,
                stage="connect",
                workspace_agent_id=agent.agent_id,
                workspace_agent_name=agent.agent_name,
            )
            for agent in agents
        ],
    )


def decide_spans(job: JobRow, reported: Sequence[Timing]) -> list[Timing]:
    """All spans of a job in order of their start; spans that have not ended yet are left out."""
    if job.started_at is None:
        return []
    spans = [_own("queue", job.created_at, job.started_at)]
    if reported:
        begun_at = min(span.started_at for span in reported)
        spans.append(_own("claim", job.started_at, begun_at))
        spans += _split_plan(reported)
        if job.completed_at is not None:
            spans.append(_own("state", max(span.ended_at for span in reported), job.completed_at))
    return sorted(spans, key=lambda span: (span.started_at, span.ended_at))


def _split_plan(reported: Sequence[Timing]) -> list[Timing]:
    """The reported spans, with the whole of apply cut where Terraform began to change the first resource.

    A build is one `terraform apply`, which plans first; the first resource that changes ends that part.
    """
    found: list[Timing] = []
    changes = [span.started_at for span in reported if span.stage == "apply" and span.resource]
    for span in reported:
        if span.stage != "apply" or span.resource:
            found.append(span)
            continue
        planned_at = min(max(min(changes, default=span.ended_at), span.started_at), span.ended_at)
        found.append(Timing("plan", span.source, "plan", "", span.started_at, planned_at))
        if planned_at < span.ended_at:
            found.append(Timing("apply", span.source, "apply", "", planned_at, span.ended_at))
    return found


def _own(stage: str, started_at: datetime, ended_at: datetime) -> Timing:
    """A span of the server's; clocks of two machines may disagree, so it never ends before it starts."""
    return Timing(stage, SERVER, stage, "", started_at, max(started_at, ended_at))
