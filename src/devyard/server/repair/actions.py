"""Repairs: the plan for a workspace, and carrying out exactly the plan that somebody has agreed to.

Called by the routes. Invariant: what is done is decided again under the workspace's lock; where that gives another
plan than the one agreed to, nothing is done.
"""

from uuid import UUID

from devyard.server.access.rules import Actor, check, is_allowed
from devyard.server.audit import actions as audit
from devyard.server.builds import create, queries, work_queries
from devyard.server.builds.queries import BuildRow
from devyard.server.builds.rules import StateHead, decide_kept_parameters, decide_parameters, read_state
from devyard.server.builds.statefile import list_addresses, strike
from devyard.server.db.pool import Connection, Executor, transaction
from devyard.server.encryption.keyring import SealError
from devyard.server.jobs import results
from devyard.server.repair import queries as repair_queries
from devyard.server.repair.rules import Decision, SavedState, Situation, Wish, decide_repair
from devyard.server.services import Services
from devyard.server.workspaces.heads import WorkspaceHead, get_head, lock_workspace
from devyard.wire.errors import AppError, BadRequest, Conflict, NotFound
from devyard.wire.repair import RepairPlan, RepairRequest


async def load_plan(services: Services, actor: Actor, workspace_id: UUID, wish: Wish) -> RepairPlan:
    """What a repair would do now.

    Raises:
        NotFound, Forbidden: by permission `workspace:update`. Others as `decide_repair`.
    """
    head = await get_head(services.pool, workspace_id)
    if head is None or head.deleted_at is not None:
        raise NotFound
    check(actor, "workspace:update", owner_id=head.owner_id, organization_id=head.organization_id)
    return decide_repair(await _load_situation(services.pool, actor, head), wish).plan


async def repair(services: Services, actor: Actor, workspace_id: UUID, request: RepairRequest) -> BuildRow:
    """Carry out the plan that was agreed to; the build that follows.

    Raises:
        NotFound, Forbidden: by permissions `workspace:update` and `workspace:<transition>`.
        Conflict: the situation is another one by now. BadRequest: nothing is to be done, or consent is missing.
    """
    wish = Wish(
        transition=request.transition, version=request.version, forget=tuple(request.forget), leave=request.leave
    )
    async with transaction(services.pool) as connection:
        head = await lock_workspace(connection, workspace_id)
        if head is None:
            raise NotFound
        check(actor, "workspace:update", owner_id=head.owner_id, organization_id=head.organization_id)
        decision = decide_repair(await _load_situation(connection, actor, head), wish)
        if decision.plan.id != request.plan_id:
            raise Conflict("The workspace's situation has changed; look at the new plan and confirm that.")
        if decision.transition is None:
            raise BadRequest("There is nothing to repair.")
        if decision.leaves and not request.accepts_leaving:
            raise BadRequest("This leaves resources behind: it has to be confirmed (accepts_leaving).")
        check(
            actor,
            f"workspace:{decision.transition}",
            owner_id=head.owner_id,
            organization_id=head.organization_id,
        )
        build_id = await _carry_out(connection, services, actor, head, decision)
    return await create.load_build(services, build_id)


async def _load_situation(executor: Executor, actor: Actor, head: WorkspaceHead) -> Situation:
    return Situation(
        workspace_name=head.name,
        builds=await repair_queries.list_recent_builds(executor, head.id),
        states=await _load_states(executor, head.id),
        active_version_id=head.active_version_id,
        active_version_name=await repair_queries.get_version_name(executor, head.active_version_id),
        is_admin=is_allowed(actor, "template:update", organization_id=head.organization_id),
    )


async def _load_states(executor: Executor, workspace_id: UUID) -> list[SavedState]:
    """The newest states, down to the first that can be read and holds something."""
    found = []
    for number in await repair_queries.list_state_numbers(executor, workspace_id):
        found.append(await _load_state(executor, workspace_id, number))
        if found[-1].addresses:
            break
    return found


async def _load_state(executor: Executor, workspace_id: UUID, number: int) -> SavedState:
    try:
        row = await queries.get_newest_state(executor, workspace_id, number)
        read_state(row.state)
        return SavedState(number, row.serial, tuple(list_addresses(row.state)))
    except AppError as error:
        return SavedState(number, -1, problem=error.message.rstrip("."))
    except (ValueError, SealError) as error:
        return SavedState(number, -1, problem=str(error))


async def _carry_out(
    connection: Connection, services: Services, actor: Actor, head: WorkspaceHead, decision: Decision
) -> UUID:
    latest = await queries.get_latest(connection, head.id)
    version = await queries.get_version(connection, decision.version_id) if decision.version_id else None
    if latest is None or version is None or decision.transition is None:
        raise NotFound
    if decision.transition == "start" and head.dormant_at is not None:
        raise Conflict("The workspace is dormant; activate it before it is repaired.")
    if decision.gives_up:
        await results.give_up(connection, services, latest.job_id)
    before = await queries.get_version(connection, latest.version_id)
    values = await queries.list_parameters(connection, latest.id)
    previous = decide_kept_parameters(before.parameters if before else [], values)
    build_id = await create.insert_build(
        connection,
        actor,
        head,
        version,
        transition=decision.transition,
        parameters=decide_parameters(version.parameters, [], previous, decision.transition),
        reason="initiator",
        build_number=latest.build_number + 1,
        is_orphan=decision.leaves,
        is_repair=True,
    )
    await _put_state(connection, head, latest.build_number, build_id, decision)
    if decision.leaves:
        await create.forget_workspace(connection, services, build_id, head)
    await audit.record(
        connection,
        actor,
        "write",
        "workspace",
        head.id,
        target=head.name,
        after={"repair": [step.description for step in decision.plan.steps]},
        organization_id=head.organization_id,
        additional={"workspace_name": head.name, "problem": decision.plan.problem[:500]},
    )
    return build_id


async def _put_state(
    connection: Connection, head: WorkspaceHead, latest_number: int, build_id: UUID, decision: Decision
) -> None:
    """The state that the new build begins with, where it is not simply the newest. Older ones stay as they are."""
    if decision.state_number is None and not decision.forget:
        return
    number = latest_number if decision.state_number is None else decision.state_number
    state = (await queries.get_newest_state(connection, head.id, number)).state
    if decision.forget:
        state = strike(state, decision.forget)
    found: StateHead = read_state(state)
    await work_queries.update_state(connection, build_id, state=state, serial=found.serial, lineage=found.lineage)
