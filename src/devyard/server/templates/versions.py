"""Writes on template versions and their dry runs; each owns its transaction and leaves an audit row in it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor, check
from devyard.server.audit.actions import record
from devyard.server.db.pool import Connection, transaction
from devyard.server.files.queries import get_file_info
from devyard.server.http.ids import load_present, present_id
from devyard.server.jobs.actions import cancel_job, insert_job
from devyard.server.jobs.queries import JobRow
from devyard.server.names import check_name, check_text
from devyard.server.services import Services
from devyard.server.templates import examples, queries, rules, version_queries
from devyard.server.templates.queries import TemplateRow
from devyard.server.templates.version_queries import VersionRow
from devyard.wire.errors import BadRequest, Conflict, Invalid, NotFound, PreconditionFailed, ValidationError
from devyard.wire.templates import (
    CreateTemplateVersionRequest,
    DryRunRequest,
    PatchTemplateVersionRequest,
    VariableValue,
)

MAX_PARAMETERS = 500


async def create_version(
    services: Services, actor: Actor, organization_id: UUID, request: CreateTemplateVersionRequest
) -> VersionRow:
    """A version with its import job queued.

    Raises:
        Invalid: names the fields. NotFound: the file or the template is not there. Conflict: the name is taken.
    """
    name = request.name or rules.make_version_name()
    problems = [
        *rules.check_version_name(name),
        *check_text("message", request.message, max_chars=rules.MAX_MESSAGE_CHARS),
        *rules.check_variables(request.user_variable_values),
    ]
    if not request.example_id and present_id(request.file_id) is None:
        problems.append(ValidationError("file_id", "Is required, or an example_id."))
    if request.provisioner != "terraform":
        problems.append(ValidationError("provisioner", "Must be terraform."))
    if problems:
        raise Invalid("The template version was refused.", validations=problems)
    version_id, template_id = uuid4(), present_id(request.template_id)
    example = await examples.load_archive(request.example_id) if request.example_id else b""
    async with transaction(services.pool) as connection:
        if example:
            file_id = await examples.keep_archive(connection, example, actor.user_id)
        else:
            file_id = load_present(request.file_id)
        info = await get_file_info(connection, file_id)
        check(actor, "file:read", owner_id=info.created_by)
        template = await _get_template(connection, template_id, organization_id)
        values = await _decide_values(connection, template, request.user_variable_values)
        job = await insert_job(
            connection,
            actor=actor,
            organization_id=organization_id,
            type="template_version_import",
            file_id=info.id,
            template_version_id=version_id,
            tags=request.tags,
        )
        await version_queries.insert_version(
            connection,
            version_id=version_id,
            organization_id=organization_id,
            template_id=template_id,
            name=name,
            message=request.message,
            job_id=job.id,
            created_by=actor.user_id,
            variable_values=values,
        )
        await _record(connection, actor, "create", version_id, name, organization_id, {"name": name})
        return _found(await version_queries.get_version(connection, version_id))


async def update_version(
    services: Services, actor: Actor, version: VersionRow, request: PatchTemplateVersionRequest
) -> VersionRow:
    """Another name or message. Raises Invalid, Conflict."""
    name = request.name or version.name
    message = version.message if request.message is None else request.message
    problems = rules.check_version_name(name) + check_text("message", message, max_chars=rules.MAX_MESSAGE_CHARS)
    if problems:
        raise Invalid("The template version was refused.", validations=problems)
    async with transaction(services.pool) as connection:
        await version_queries.update_version(connection, version.id, name, message)
        after = {"name": name, "message": message}
        before = {"name": version.name, "message": version.message}
        await _record(connection, actor, "write", version.id, name, version.organization_id, after, before)
        return _found(await version_queries.get_version(connection, version.id))


async def archive_version(services: Services, actor: Actor, version: VersionRow, *, archived: bool) -> None:
    """Hide a version or bring it back. Raises Conflict: it is the active one."""
    async with transaction(services.pool) as connection:
        template = await queries.get_template(connection, version.template_id) if version.template_id else None
        if archived and template is not None and template.active_version_id == version.id:
            raise Conflict("The active version can't be archived. Promote another one first.")
        await version_queries.update_archived(connection, version.id, archived)
        after, before = {"archived": archived}, {"archived": version.archived}
        await _record(connection, actor, "write", version.id, version.name, version.organization_id, after, before)


async def cancel_import(services: Services, actor: Actor, version: VersionRow) -> None:
    """Ask a version's import to stop.

    Raises:
        PreconditionFailed: it has ended, or is being canceled.
    """
    if version.job.is_ended:
        raise PreconditionFailed("The import has already ended.")
    if version.job.status == "canceling":
        raise PreconditionFailed("The import is already being canceled.")
    await _cancel(services, actor, version, version.job.id)


async def create_dry_run(services: Services, actor: Actor, version: VersionRow, request: DryRunRequest) -> JobRow:
    """Queue a plan with the given values. Raises PreconditionFailed: the version's import did not succeed."""
    problems = rules.check_variables(request.user_variable_values)
    if request.workspace_name:
        problems += check_name("workspace_name", request.workspace_name)
    if len(request.rich_parameter_values) > MAX_PARAMETERS:
        problems.append(ValidationError("rich_parameter_values", f"At most {MAX_PARAMETERS} are taken."))
    if problems:
        raise Invalid("The dry run was refused.", validations=problems)
    if version.job.status != "succeeded":
        raise PreconditionFailed("The version was not imported (yet), so it can't be planned.")
    async with transaction(services.pool) as connection:
        job = await insert_job(
            connection,
            actor=actor,
            organization_id=version.organization_id,
            type="template_version_dry_run",
            file_id=version.job.file_id,
            template_version_id=version.id,
            tags=version.job.tags,
            input={
                "workspace_name": request.workspace_name,
                "parameters": {value.name: value.value for value in request.rich_parameter_values},
                "variables": [{"name": v.name, "value": v.value} for v in request.user_variable_values],
            },
        )
        after = {"dry_run": str(job.id)}
        await _record(connection, actor, "create", version.id, version.name, version.organization_id, after)
    return job


async def cancel_dry_run(services: Services, actor: Actor, version: VersionRow, job: JobRow) -> None:
    """Ask a dry run to stop. Raises BadRequest: it has ended."""
    if job.is_ended:
        raise BadRequest("The dry run has already ended.")
    await _cancel(services, actor, version, job.id)


async def _cancel(services: Services, actor: Actor, version: VersionRow, job_id: UUID) -> None:
    async with transaction(services.pool) as connection:
        job = await cancel_job(connection, job_id, services.now())
        after = {"job_status": job.status}
        await _record(connection, actor, "write", version.id, version.name, version.organization_id, after)


async def _get_template(
    connection: Connection, template_id: UUID | None, organization_id: UUID
) -> TemplateRow | None:
    if template_id is None:
        return None
    template = await queries.get_template(connection, template_id)
    if template is None or template.organization_id != organization_id:
        raise NotFound("There is no such template in this organization.")
    return template


async def _decide_values(
    connection: Connection, template: TemplateRow | None, given: Sequence[VariableValue]
) -> list[dict[str, Any]]:
    """The variables' values: those given, and for all others those of the active version, marked as `inherited`.

    A client can't send the sensitive ones again, since nobody is shown them.
    """
    values: dict[str, dict[str, Any]] = {}
    if template is not None:
        content = await version_queries.get_content(connection, template.active_version_id)
        declared = {variable["name"] for variable in content.variables} if content else set()
        values = {
            v["name"]: {"name": v["name"], "value": v["value"], "inherited": True}
            for v in (content.variable_values if content else [])
            if v["name"] in declared
        }
    values.update({v.name: {"name": v.name, "value": v.value} for v in given})
    return list(values.values())


async def _record(
    connection: Connection,
    actor: Actor,
    action: str,
    version_id: UUID,
    name: str,
    organization_id: UUID,
    after: Mapping[str, object],
    before: Mapping[str, object] | None = None,
) -> None:
    await record(
        connection,
        actor,
        "create" if action == "create" else "write",
        "template_version",
        version_id,
        target=name,
        before=before,
        after=after,
        organization_id=organization_id,
    )


def _found(row: VersionRow | None) -> VersionRow:
    if row is None:
        raise NotFound
    return row
