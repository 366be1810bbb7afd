"""What an import or a dry run asks of its provisioner. Runs in the transaction of the claim."""

from collections.abc import Mapping, Sequence

from devyard.server.db.pool import Connection
from devyard.server.jobs.queries import JobRow
from devyard.server.services import Services
from devyard.server.templates import version_queries
from devyard.server.templates.version_queries import VersionContent, VersionRow
from devyard.server.users.queries import UserRow, get_user
from devyard.wire.errors import NotFound
from devyard.wire.provisionerlink import DryRunJob, ImportJob, Variable, WorkspaceContext


async def load_import_work(connection: Connection, services: Services, job: JobRow) -> ImportJob:
    """Learn what a version asks for. Raises NotFound: the version is gone."""
    version, content = await _load(connection, job)
    owner = await get_user(connection, job.initiator_id)
    return ImportJob(
        context=work_context(services, version, owner, workspace_name="default"),
        variables=decide_variables(content.variable_values),
    )


async def load_dry_run_work(connection: Connection, services: Services, job: JobRow) -> DryRunJob:
    """Plan a start with the values that the job was queued with. Raises NotFound: the version is gone."""
    version, content = await _load(connection, job)
    owner = await get_user(connection, job.initiator_id)
    given = await version_queries.get_input(connection, job.id)
    overriding = given.get("variables", [])
    return DryRunJob(
        context=work_context(services, version, owner, workspace_name=given.get("workspace_name") or "default"),
        parameters=given.get("parameters", {}),
        agent_resources=content.agent_resources,
        variables=decide_variables([*content.variable_values, *overriding]),
    )


def decide_variables(values: Sequence[Mapping[str, str]]) -> tuple[Variable, ...]:
    """Variables by name; the last value given counts."""
    return tuple(Variable(name, value) for name, value in {v["name"]: v["value"] for v in values}.items())


async def _load(connection: Connection, job: JobRow) -> tuple[VersionRow, VersionContent]:
    version = await version_queries.get_version(connection, job.template_version_id)
    content = await version_queries.get_content(connection, job.template_version_id)
    if version is None or content is None:
        raise NotFound("The template version of this job is gone.")
    return version, content


def work_context(
    services: Services, version: VersionRow, owner: UserRow | None, *, workspace_name: str
) -> WorkspaceContext:
    """What data sources answer with where there is no build: the version, and who would be the owner."""
    return WorkspaceContext(
        access_url=services.settings.access_url,
        workspace_name=workspace_name,
        template_id=str(version.template_id or ""),
        template_name=version.template_name,
        template_version=version.name,
        owner_id=str(owner.id) if owner else "",
        owner_name=owner.username if owner else "default",
        owner_full_name=owner.name if owner else "",
        owner_email=owner.email if owner else "",
        owner_login_type=owner.login_type if owner else "",
        owner_roles=tuple((role, "") for role in owner.site_roles) if owner else (),
    )
