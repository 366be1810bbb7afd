"""Builds that people ask for: making the next one, canceling one, replacing a workspace's Terraform state.

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
from devyard.server.db.pool import Connection, transaction
from devyard.server.db.wakeups import wake
from devyard.server.http.ids import present_id
from devyard.server.jobs import queries as job_queries
from devyard.server.jobs.actions import insert_job
from devyard.server.services import Services
from devyard.server.workspaces.heads import WorkspaceHead, get_head, lock_workspace
from devyard.wire.enums import AuditAction, BuildReason, Transition
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, ValidationError
from devyard.wire.templates import ParameterValue
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
        Invalid: parameters or a version that can't be used. Conflict: another build is active.
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
        latest = await queries.get_latest(connection, workspace_id)
        version = await _decide_version(connection, actor, workspace, latest, request)
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
        )
        if request.orphan:
            await _forget(connection, services, build_id, workspace)
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
) -> UUID:
    """A build with its job and values, inside the caller's transaction; wakes who waits for either."""
    build_id = uuid4()
    job = await insert_job(
        connection,
        actor=actor,
        organization_id=workspace.organization_id,
        type="workspace_build",
        file_id=version.file_id,
        template_version_id=version.id,
        workspace_build_id=build_id,
        tags=version.tags,
        input={"log_level": log_level} if log_level else {},
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
        after={"transition": transition, "template_version_id": str(version.id), "reason": reason},
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


async def cancel_build(services: Services, actor: Actor, build: BuildRow, expected_status: str = "") -> None:
    """Ask a build to end: a pending one ends at once, a running one saves its state first.

    Raises:
        Forbidden: the template leaves canceling to administrators. BadRequest: the build is over.
        PreconditionFailed by Conflict: the job is not in `expected_status` any more.
    """
    check(actor, "workspace:update", owner_id=build.owner_id, organization_id=build.organization_id)
    now = services.now()
    async with transaction(services.pool) as connection:
        template_allows = await create_queries.is_cancel_allowed(connection, build.template_id)
        if not template_allows and not is_admin(actor, build.organization_id):
            raise Forbidden("The template does not allow users to cancel builds; ask an administrator.")
        job = await job_queries.get_job(connection, build.job.id)
        if job is None or job.is_ended:
            raise BadRequest("The build is over; there is nothing to cancel.")
        if expected_status and job.status != expected_status:
            raise Conflict(f'The build is "{job.status}", not "{expected_status}" any more; it was left alone.')
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


async def replace_state(services: Services, actor: Actor, build: BuildRow, state: bytes) -> None:
    """Put another Terraform state in place of the latest build's; administrators only.

    Raises:
        Invalid: no Terraform state. Conflict: the build is active, or not the workspace's latest.
    """
    check_state_access(actor, build)
    head = rules.read_state(state)
    async with transaction(services.pool) as connection:
        await lock_workspace(connection, build.workspace_id)
        latest = await queries.get_latest(connection, build.workspace_id)
        if latest is None or latest.id != build.id:
            raise Conflict("Only the state of the latest build can be replaced.")
        if latest.job_status in ("pending", "running", "canceling"):
            raise Conflict("The build is still under way; wait for it or cancel it.")
        await work_queries.update_state(
            connection, build.id, state=state, serial=head.serial, lineage=head.lineage
        )
        await audit.record(
            connection,
            actor,
            "write",
            "workspace_build",
            build.id,
            target=build.workspace_name,
            after={"state_serial": head.serial, "state_lineage": head.lineage},
            organization_id=build.organization_id,
        )


def check_state_access(actor: Actor, build: BuildRow) -> None:
    """Raise unless the actor may see states, which hold secrets: administrators of templates only."""
    if not is_admin(actor, build.organization_id):
        can_read = is_allowed(
            actor, "workspace:read", owner_id=build.owner_id, organization_id=build.organization_id
        )
        if can_read:
            raise Forbidden("Terraform states hold secrets; only administrators may read or replace them.")
        raise NotFound


def is_admin(actor: Actor, organization_id: UUID) -> bool:
    """Whether the actor looks after templates there."""
    return is_allowed(actor, "template:update", organization_id=organization_id)


def preset_values(
    version: VersionRow, preset_id: UUID | None, given: list[ParameterValue]
) -> list[ParameterValue]:
    """The given values with those of a preset for what is not given. Raises Invalid: no such preset."""
    wanted = present_id(preset_id)
    if wanted is None:
        return given
    for preset in version.presets:
        if str(preset.get("id", "")) == str(wanted):
            names = {value.name for value in given}
            extra = [(name, value) for name, value in preset.get("parameters", {}).items() if name not in names]
            return [*given, *[ParameterValue(name=name, value=value) for name, value in extra]]
    detail = "The template version has no preset with this id."
    raise Invalid(detail, validations=[ValidationError("template_version_preset_id", detail)])


def check_version(version: VersionRow | None, template_id: UUID) -> VersionRow:
    """The version, if a workspace of the template can be built from it. Raises Invalid."""
    problem = ""
    if version is None or version.template_id != template_id:
        problem = "The template has no such version."
    elif version.job_status != "succeeded":
        problem = f'The version "{version.name}" can\'t be used: its import is "{version.job_status}".'
    if problem or version is None:
        raise Invalid(
            "The template version can't be used.",
            validations=[ValidationError("template_version_id", problem)],
        )
    return version


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
    if (request.orphan or request.log_level) and not actor.is_owner:
        what = "leave resources behind (orphan)" if request.orphan else "ask for debug logs"
        raise Forbidden(f"Only administrators may {what}.")


async def _decide_version(
    connection: Connection,
    actor: Actor,
    workspace: WorkspaceHead,
    latest: LatestRow | None,
    request: CreateBuildRequest,
) -> VersionRow:
    wanted = present_id(request.template_version_id)
    is_start = request.transition == "start"
    follows = workspace.automatic_updates == "always" or workspace.require_active_version
    if wanted is None and is_start and follows and not is_admin(actor, workspace.organization_id):
        wanted = workspace.active_version_id
    if wanted is None:
        wanted = latest.version_id if latest else workspace.active_version_id
    version = check_version(await queries.get_version(connection, wanted), workspace.template_id)
    if not is_start:
        return version
    if version.archived:
        raise Conflict(f'The version "{version.name}" is archived; start the workspace on another one.')
    is_other = workspace.require_active_version and version.id != workspace.active_version_id
    if is_other and not is_admin(actor, workspace.organization_id):
        raise Forbidden("The template allows starts on its active version only.")
    return version


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
        version = await _decide_version(connection, actor, workspace, latest, request)
    given = preset_values(version, request.template_version_preset_id, request.rich_parameter_values)
    return await evaluate_start(services, actor, workspace.owner_id, version, given, workspace)


async def _load_previous(connection: Connection, latest: LatestRow | None) -> dict[str, str] | None:
    if latest is None:
        return None
    values = await queries.list_parameters(connection, latest.id)
    version = await queries.get_version(connection, latest.version_id)
    return rules.decide_kept_parameters(version.parameters if version else [], values)


async def _forget(connection: Connection, services: Services, build_id: UUID, workspace: WorkspaceHead) -> None:
    """Delete a workspace without Terraform: whatever it made stays where it is."""
    now = services.now()
    await create_queries.complete_job(connection, build_id, now)
    await work_queries.end_build(connection, build_id)
    await work_queries.mark_workspace_deleted(connection, workspace.id, now)
    await work_queries.delete_build_keys(connection, workspace.id)
    await wake(connection, "agents")
