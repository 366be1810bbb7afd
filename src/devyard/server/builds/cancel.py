"""Canceling builds that people have asked for: a waiting one ends at once, a running one is asked to stop.

Called by the routes of builds. Its provisioner interrupts Terraform first, and kills it where that does not help
(provisioners/link).
"""

from devyard.server.access.rules import Actor, check
from devyard.server.audit import actions as audit
from devyard.server.builds import create_queries, work_queries
from devyard.server.builds.queries import BuildRow
from devyard.server.builds.versions import is_admin
from devyard.server.db.pool import transaction
from devyard.server.db.wakeups import wake
from devyard.server.jobs import queries as job_queries
from devyard.server.services import Services
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid, PreconditionFailed, ValidationError


async def cancel_build(services: Services, actor: Actor, build: BuildRow, expected_status: str = "") -> None:
    """Ask a build to end: a pending one ends at once, a running one saves its state first.

    Raises:
        Forbidden: the template leaves canceling to administrators. BadRequest: the build is over.
        PreconditionFailed: the job is not in `expected_status` any more. Invalid: there is no such status.
    """
    check(actor, "workspace:update", owner_id=build.owner_id, organization_id=build.organization_id)
    _check_expected(expected_status)
    now = services.now()
    async with transaction(services.pool) as connection:
        template_allows = await create_queries.is_cancel_allowed(connection, build.template_id)
        if not template_allows and not is_admin(actor, build.organization_id):
            raise Forbidden("The template does not allow users to cancel builds; ask an administrator.")
        job = await job_queries.get_job(connection, build.job.id)
        if job is None or job.is_ended:
            raise BadRequest("The build is over; there is nothing to cancel.")
        if expected_status and job.status != expected_status:
            raise PreconditionFailed(
                f'The build is "{job.status}", not "{expected_status}" any more; it was left alone.'
            )
        if await job_queries.cancel_pending(connection, job.id, now):
            await work_queries.end_build(connection, build.id)
            await wake(connection, f"logs:{job.id}")
            await wake(connection, "agents")
        elif not await job_queries.cancel_running(connection, job.id, now) and job.status != "canceling":
            raise Conflict("The build ended at the same moment.")
        await audit.record(
            connection,
            actor,
            "write",
            "workspace_build",
            build.id,
            target=build.workspace_name,
            before={"status": job.status},
            after={"status": "canceled" if job.status == "pending" else "canceling"},
            organization_id=build.organization_id,
        )
        await wake(connection, f"job:{job.id}")
        await wake(connection, f"workspace:{build.workspace_id}")


def _check_expected(status: str) -> None:
    if status not in ("", "pending", "running"):
        detail = 'Use "pending" or "running".'
        raise Invalid("The status can't be used.", validations=[ValidationError("expect_status", detail)])
