"""Builds that people ask for: making the next one.

Called by the routes of builds and workspaces; `insert_build` also by the action that makes a workspace.
Invariant: the database's constraint, not this code, keeps a workspace to one active build.
"""

from collections.abc import Mapping
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor, check, is_allowed
from devyard.server.audit import actions as audit
from devyard.server.builds import create_queries, queries, rules, work_queries
from devyard.server.builds.dynamic import Evaluated, decide_values, evaluate_start
from devyard.server.builds.queries import BuildRow, LatestRow, VersionRow
from devyard.server.builds.states import check_kept, decode_state
from devyard.server.builds.versions import decide_version, is_admin, merge_tags, preset_values
from devyard.server.db.pool import Connection, transaction
from devyard.server.db.wakeups import wake
from devyard.server.http.ids import present_id
from devyard.server.jobs.actions import insert_job
from devyard.server.services import Services
from devyard.server.workspaces.heads import WorkspaceHead, get_head, lock_workspace
from devyard.wire.enums import AuditAction, BuildReason, Transition
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, ValidationError
from devyard.wire.workspaces import CreateBuildRequest

REASONS_OF_PEOPLE: frozenset[BuildReason] = frozenset(
    {"initiator", "dashboard", "cli", "ssh_connection", "vscode_connection", "jetbrains_connection"}
)


async def create_build(
    services: Services, actor: Actor, workspace_id: UUID, request: CreateBuildRequest
) -> BuildRow:
    """The next build of a workspace.

    Raises:
        NotFound, Forbidden: by permission `workspace:<transition>`.
        Invalid: parameters, a version or a state that can't be used. Conflict: another build is active.
    """
    _check_request(actor, request)
    evaluated = await _evaluate(services, actor, workspace_id, request)
    async with transaction(services.pool) as connection:
        workspace = await lock_workspace(connection, workspace_id)
        if workspace is None:
            raise NotFound
        check(
            actor,
            f"workspace:{request.transition}",
            owner_id=workspace.owner_id,
            organization_id=workspace.organization_id,
        )
        _check_administration(actor, request, workspace)
        latest = await queries.get_latest(connection, workspace_id)
        version = await decide_version(connection, actor, workspace, latest, request)
        if request.transition == "start" and workspace.dormant_at is not None:
            raise Conflict("The workspace is dormant; activate it before you start it.")
        previous = await _load_previous(connection, latest)
        given = [*preset_values(version, request.template_version_preset_id, request.rich_parameter_values)]
        values = decide_values(version, evaluated, given, previous, request.transition)
        build_id = await insert_build(
            connection,
            actor,
            workspace,
            version,
            transition=request.transition,
            parameters=values,
            reason=request.reason or "initiator",
            preset_id=present_id(request.template_version_preset_id),
            build_number=latest.build_number + 1 if latest else 1,
            log_level=request.log_level,
            is_orphan=request.orphan,
            evaluated_tags=evaluated.workspace_tags if evaluated else None,
        )
        if request.state:
            await _put_state(connection, build_id, workspace, request.state)
        if request.orphan:
            await forget_workspace(connection, services, build_id, workspace)
    return await load_build(services, build_id)


async def insert_build(
    connection: Connection,
    actor: Actor,
    workspace: WorkspaceHead,
    version: VersionRow,
    *,
    transition: Transition,
    parameters: Mapping[str, str],
    reason: BuildReason,
    preset_id: UUID | None = None,
    build_number: int = 1,
    log_level: str = "",
    is_orphan: bool = False,
    is_repair: bool = False,
    evaluated_tags: Mapping[str, str] | None = None,
) -> UUID:
    """A build with its job and values, inside the caller's transaction; wakes who waits for either.

    `evaluated_tags` are those of `coder_workspace_tags` for `parameters`; None takes what the import worked out
    from the defaults. `is_repair`: Terraform looks at what really exists, whatever the transition.
    """
    build_id = uuid4()
    job = await insert_job(
        connection,
        actor=actor,
        organization_id=workspace.organization_id,
        type="workspace_build",
        file_id=version.file_id,
        template_version_id=version.id,
        workspace_build_id=build_id,
        tags=merge_tags(version.tags, version.workspace_tags if evaluated_tags is None else evaluated_tags),
        input={**({"log_level": log_level} if log_level else {}), **({"refresh": True} if is_repair else {})},
    )
    await create_queries.insert_build(
        connection,
        build_id=build_id,
        workspace_id=workspace.id,
        build_number=build_number,
        transition=transition,
        reason=reason,
        version_id=version.id,
        preset_id=preset_id,
        initiator_id=actor.user_id,
        job_id=job.id,
    )
    await create_queries.insert_parameters(connection, build_id, parameters)
    await create_queries.update_latest_build(connection, workspace.id, build_id)
    await audit.record(
        connection,
        actor,
        "create" if build_number == 1 else _AUDIT_ACTIONS[transition],
        "workspace_build",
        build_id,
        target=workspace.name,
        after={
            "transition": transition,
            "template_version_id": str(version.id),
            "reason": reason,
            **({"orphan": True} if is_orphan else {}),
        },
        organization_id=workspace.organization_id,
        additional={"workspace_name": workspace.name, "build_number": str(build_number), "build_reason": reason},
    )
    await wake(connection, f"workspace:{workspace.id}")
    return build_id


async def load_build(services: Services, build_id: UUID) -> BuildRow:
    """One build. Raises NotFound."""
    build = await queries.get_build(services.pool, build_id)
    if build is None:
        raise NotFound
    return build


_AUDIT_ACTIONS: Mapping[Transition, AuditAction] = {"start": "start", "stop": "stop", "delete": "delete"}


def _check_request(actor: Actor, request: CreateBuildRequest) -> None:
    if request.dry_run:
        raise BadRequest("Builds have no dry run; use the template version's dry run.")
    if request.reason is not None and request.reason not in REASONS_OF_PEOPLE:
        allowed = ", ".join(sorted(REASONS_OF_PEOPLE))
        raise Invalid("The reason can't be used.", validations=[ValidationError("reason", f"Use {allowed}.")])
    if request.log_level not in ("", "debug"):
        raise Invalid("The log level can't be used.", validations=[ValidationError("log_level", 'Use "debug".')])
    if request.orphan and request.transition != "delete":
        raise BadRequest("Only a delete can leave the resources behind (orphan).")


def _check_administration(actor: Actor, request: CreateBuildRequest, workspace: WorkspaceHead) -> None:
    """Raise where a request asks for what only administrators of the organization may."""
    asked = [
        what
        for is_asked, what in (
            (request.orphan, "leave resources behind (orphan)"),
            (request.log_level, "ask for debug logs"),
            (request.state, "give a build another Terraform state"),
        )
        if is_asked
    ]
    if asked and not is_admin(actor, workspace.organization_id):
        raise Forbidden(f"Only administrators may {asked[0]}.")


async def _put_state(connection: Connection, build_id: UUID, workspace: WorkspaceHead, text: str) -> None:
    """Give the new build a state to begin with in place of the workspace's newest."""
    state = decode_state(text)
    head = rules.read_state(state)
    latest = await queries.get_latest(connection, workspace.id)
    await check_kept(connection, workspace.id, latest.build_number if latest else 0, head, is_forced=False)
    await work_queries.update_state(connection, build_id, state=state, serial=head.serial, lineage=head.lineage)


async def _evaluate(
    services: Services, actor: Actor, workspace_id: UUID, request: CreateBuildRequest
) -> Evaluated | None:
    """The form of a start, before the transaction, which decides everything again."""
    workspace = await get_head(services.pool, workspace_id) if request.transition == "start" else None
    if workspace is None or not is_allowed(
        actor, "workspace:start", owner_id=workspace.owner_id, organization_id=workspace.organization_id
    ):
        return None
    async with services.pool.acquire() as connection:
        latest = await queries.get_latest(connection, workspace_id)
        version = await decide_version(connection, actor, workspace, latest, request)
    given = preset_values(version, request.template_version_preset_id, request.rich_parameter_values)
    return await evaluate_start(services, actor, workspace.owner_id, version, given, workspace)


async def _load_previous(connection: Connection, latest: LatestRow | None) -> dict[str, str] | None:
    if latest is None:
        return None
    values = await queries.list_parameters(connection, latest.id)
    version = await queries.get_version(connection, latest.version_id)
    return rules.decide_kept_parameters(version.parameters if version else [], values)


async def forget_workspace(
    connection: Connection, services: Services, build_id: UUID, workspace: WorkspaceHead
) -> None:
    """Delete a workspace without Terraform: what it made stays, and nobody here knows of it any more."""
    now = services.now()
    await create_queries.complete_job(connection, build_id, now)
    await work_queries.end_build(connection, build_id)
    await create_queries.forget_states(connection, workspace.id)
    await work_queries.mark_workspace_deleted(connection, workspace.id, now)
    await work_queries.delete_build_keys(connection, workspace.id)
    await wake(connection, "agents")
