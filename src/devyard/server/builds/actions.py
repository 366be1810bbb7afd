"""What a build's job is given and what its result changes.

Called by the jobs code inside its transaction, once it has made sure that the job's lease is still held; nothing
here opens a transaction or leaves the database. Invariant: a state that is kept never gets older, and a build
stops being active exactly when its job ends.
"""

from datetime import timedelta

import structlog

from devyard.server.access.rules import Actor, RequestInfo
from devyard.server.audit import actions as audit
from devyard.server.builds import queries, results, rules, work_queries
from devyard.server.builds.statefile import list_addresses
from devyard.server.builds.work_queries import WorkRow
from devyard.server.db.pool import Connection
from devyard.server.db.wakeups import wake
from devyard.server.jobs.queries import JobRow
from devyard.server.services import Services
from devyard.server.tokens.queries import insert_key
from devyard.server.tokens.rules import hash_secret, make_token
from devyard.wire.errors import AppError, Invalid, NotFound
from devyard.wire.provisionerlink import BuildDone, BuildJob, Failed, WorkspaceContext

log = structlog.get_logger("builds")

BUILD_KEY_LIFETIME_S = 30 * 24 * 3600
"""Life of the owner's session token that a start build gets, unless a newer build ends it earlier."""


async def load_build_work(connection: Connection, services: Services, job: JobRow) -> BuildJob:
    """What the provisioner that claimed `job` has to do, with a fresh session token where it starts something.

    Raises:
        NotFound: the job runs no build.
    """
    work = await _load_work(connection, job)
    state = await queries.get_newest_state(connection, work.workspace_id, work.build_number)
    previous: dict[str, str] = {}
    if work.previous_build_id is not None:
        values = await queries.list_parameters(connection, work.previous_build_id)
        previous = rules.decide_kept_parameters(work.previous_parameters, values)
    is_debug = await work_queries.is_debug(connection, job.id)
    await work_queries.delete_build_keys(connection, work.workspace_id)
    token = await _make_session_token(connection, services, work) if work.transition == "start" else ""
    await wake(connection, f"workspace:{work.workspace_id}")
    await wake(connection, "agents")
    return BuildJob(
        context=_context(services, work, token),
        transition=work.transition,
        state=state.state,
        parameters=await queries.list_parameters(connection, work.build_id),
        previous_parameters=previous,
        agent_resources=work.agent_resources,
        variables=tuple(work.variable_values),
        debug=is_debug,
        refresh=await work_queries.has_refresh(connection, job.id),
    )


async def save_state(connection: Connection, services: Services, job: JobRow, state: bytes) -> bool:
    """Keep a state that Terraform has written while applying; False where it is not newer or no successor."""
    work = await _load_work(connection, job)
    return await _keep_state(connection, work, state, allow_equal=False)


async def take_left_state(connection: Connection, services: Services, job: JobRow, state: bytes) -> str | None:
    """Keep the state that a build's lost provisioner had left, if the build is still the workspace's latest.

    Answers why not (an older or equal one: nothing is lost, an empty answer), None where it was kept.
    """
    work = await _load_work(connection, job)
    latest = await queries.get_latest(connection, work.workspace_id)
    if latest is None or latest.id != work.build_id:
        return "Another build of the workspace has begun since; the state was left where it was found."
    try:
        head = rules.read_state(state)
        list_addresses(state)
    except AppError as error:
        return error.message
    except ValueError as error:
        return f"The state can't be read: {error}."
    lineage, serial = await queries.get_newest_state_head(connection, work.workspace_id, work.build_number)
    if lineage == head.lineage and head.serial <= serial:
        return ""
    if problem := rules.check_successor(head, lineage, serial):
        return problem
    await _keep_state(connection, work, state, allow_equal=False)
    await wake(connection, f"workspace:{work.workspace_id}")
    return None


async def complete_build(connection: Connection, services: Services, job: JobRow, result: BuildDone) -> None:
    """Apply a successful result: state, resources, agents and what belongs to them, deadline, deletion.

    Raises:
        Invalid: the result contradicts itself or the state kept. Nothing was written; the job has to fail with
            the message.
    """
    work = await _load_work(connection, job)
    now = services.now()
    rows = results.decide_rows(result.resources, work, job_id=job.id, now=now)
    if result.state and not await _keep_state(connection, work, result.state, allow_equal=True):
        raise Invalid("The build's last state does not follow the one that was saved before; nothing was applied.")
    for table in work_queries.list_tables():
        await work_queries.insert_rows(connection, table, rows[table])
    deadline = rules.decide_deadline(work.transition, work.ttl_ms, now)
    cost = sum(resource.daily_cost for resource in result.resources)
    await work_queries.end_build(connection, work.build_id, daily_cost=cost, deadline=deadline)
    if work.transition == "delete":
        await work_queries.mark_workspace_deleted(connection, work.workspace_id, now)
        await work_queries.delete_build_keys(connection, work.workspace_id)
    elif work.transition == "start":
        await work_queries.touch_workspace(connection, work.workspace_id, now)
    await work_queries.update_timings(connection, job.id, result.timings)
    await _finish(connection, work, "succeeded")


async def fail_build(connection: Connection, services: Services, job: JobRow, result: Failed) -> None:
    """Apply the end of a build that failed or was canceled: newer state is kept, another build may begin."""
    work = await _load_work(connection, job)
    if result.state:
        try:
            kept = await _keep_state(connection, work, result.state, allow_equal=True)
        except AppError as error:
            kept = False
            log.warning("state of a failed build can't be read", build=str(work.build_id), error=str(error))
        if not kept:
            log.warning("state of a failed build is older than the one kept", build=str(work.build_id))
    await work_queries.end_build(connection, work.build_id)
    error_text = rules.describe_failure(result.error, result.possible_orphans)
    await work_queries.update_timings(connection, job.id, result.timings, error=error_text)
    await _finish(connection, work, result.outcome)


async def _load_work(connection: Connection, job: JobRow) -> WorkRow:
    work = await work_queries.get_work(connection, job.id)
    if work is None:
        raise NotFound("The job runs no workspace build.")
    return work


async def _keep_state(connection: Connection, work: WorkRow, state: bytes, *, allow_equal: bool) -> bool:
    head = rules.read_state(state)
    lineage, serial = await queries.get_newest_state_head(connection, work.workspace_id, work.build_number)
    if problem := rules.check_successor(head, lineage, serial, allow_equal=allow_equal):
        log.warning("state refused", build=str(work.build_id), reason=problem)
        return False
    await work_queries.update_state(
        connection, work.build_id, state=state, serial=head.serial, lineage=head.lineage
    )
    return True


async def _make_session_token(connection: Connection, services: Services, work: WorkRow) -> str:
    token = make_token()
    await insert_key(
        connection,
        key_id=token.id,
        user_id=work.owner_id,
        secret_hash=hash_secret(token.secret),
        login_type="token",
        scope="all",
        token_name="",
        lifetime_s=BUILD_KEY_LIFETIME_S,
        expires_at=services.now() + timedelta(seconds=BUILD_KEY_LIFETIME_S),
        ip="",
        workspace_build_id=work.build_id,
    )
    return str(token)


def _context(services: Services, work: WorkRow, token: str) -> WorkspaceContext:
    return WorkspaceContext(
        access_url=services.settings.access_url,
        workspace_id=str(work.workspace_id),
        workspace_name=work.workspace_name,
        build_id=str(work.build_id),
        template_id=str(work.template_id),
        template_name=work.template_name,
        template_version=work.version_name,
        owner_id=str(work.owner_id),
        owner_name=work.owner_name,
        owner_full_name=work.owner_full_name,
        owner_email=work.owner_email,
        owner_login_type=work.owner_login_type,
        owner_roles=tuple((role, "") for role in work.owner_roles),
        owner_session_token=token,
        owner_ssh_public_key=work.owner_public_key,
        owner_ssh_private_key=work.owner_private_key,
    )


async def _finish(connection: Connection, work: WorkRow, outcome: str) -> None:
    await audit.record(
        connection,
        _initiator(work),
        "write",
        "workspace_build",
        work.build_id,
        target=work.workspace_name,
        before={"status": "running"},
        after={"status": outcome},
        organization_id=work.organization_id,
        additional={"workspace_name": work.workspace_name, "build_number": str(work.build_number)},
    )
    await wake(connection, f"workspace:{work.workspace_id}")
    await wake(connection, "agents")


def _initiator(work: WorkRow) -> Actor:
    return Actor(
        user_id=work.initiator_id,
        username=work.initiator_name,
        site_roles=(),
        organization_ids=(),
        request=RequestInfo(request_id=work.build_id),
    )
