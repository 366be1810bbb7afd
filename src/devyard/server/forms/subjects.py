"""What a form is about: a template version and who would own the workspace, ready to be sent to a provisioner.

Called by actions.py and routing.py. Permissions are the callers' business.
"""

from collections.abc import Mapping
from uuid import UUID, uuid4

import msgspec

from devyard.server.builds import queries as build_queries
from devyard.server.builds.rules import decide_kept_parameters
from devyard.server.db.pool import Executor
from devyard.server.files.queries import get_file_info
from devyard.server.packages.queries import get_version_packages
from devyard.server.services import Services
from devyard.server.templates import version_queries
from devyard.server.templates.work import decide_variables, work_context
from devyard.server.users.queries import get_user
from devyard.server.workspaces.heads import WorkspaceHead
from devyard.wire.errors import NotFound, PreconditionFailed
from devyard.wire.provisionerlink import Archive, FormRequest, Variable, WorkspaceContext
from devyard.wire.provisionerpackages import Package, TerraformSettings


class FormSubject(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its owner, and the workspace's name where there is one. `tags`: who can work it out."""

    version_id: UUID
    organization_id: UUID
    owner_id: UUID
    workspace_id: UUID | None
    tags: Mapping[str, str]
    archive: Archive
    context: WorkspaceContext
    variables: tuple[Variable, ...]
    packages: tuple[Package, ...]
    lock_file: bytes
    terraform: TerraformSettings


async def load_subject(
    services: Services, version_id: UUID, owner_id: UUID, workspace: WorkspaceHead | None = None
) -> FormSubject:
    """The version for this owner.

    Raises:
        NotFound: there is no such version or user. PreconditionFailed: the version's import has not succeeded.
    """
    version = await version_queries.get_version(services.pool, version_id)
    content = await version_queries.get_content(services.pool, version_id)
    owner = await get_user(services.pool, owner_id)
    if version is None or content is None or owner is None:
        raise NotFound
    if version.job.status != "succeeded":
        raise PreconditionFailed("The version's import has not succeeded (yet). Its log says more.")
    info = await get_file_info(services.pool, version.job.file_id)
    packages, lock_file = await get_version_packages(services.pool, version_id)
    context = work_context(services, version, owner, workspace_name=workspace.name if workspace else "default")
    return FormSubject(
        version_id=version_id,
        organization_id=version.organization_id,
        owner_id=owner_id,
        workspace_id=workspace.id if workspace else None,
        tags=version.job.tags,
        archive=Archive(version.job.file_id, info.sha256, info.size_bytes),
        context=msgspec.structs.replace(context, workspace_id=str(workspace.id) if workspace else ""),
        variables=decide_variables(content.variable_values),
        packages=packages,
        lock_file=lock_file,
        terraform=services.terraform,
    )


async def load_previous(executor: Executor, workspace_id: UUID) -> dict[str, str]:
    """The values that a workspace's next build starts from: those of its last one but for ephemeral ones."""
    latest = await build_queries.get_latest(executor, workspace_id)
    if latest is None:
        return {}
    values = await build_queries.list_parameters(executor, latest.id)
    version = await build_queries.get_version(executor, latest.version_id)
    return decide_kept_parameters(version.parameters if version else [], values)


def make_request(
    subject: FormSubject,
    inputs: Mapping[str, str],
    previous: Mapping[str, str],
    request_id: UUID | None = None,
) -> FormRequest:
    """What the provisioner is asked."""
    return FormRequest(
        request_id=request_id or uuid4(),
        template_version_id=subject.version_id,
        archive=subject.archive,
        context=subject.context,
        parameters=inputs,
        previous_parameters=previous,
        variables=subject.variables,
        packages=subject.packages,
        lock_file=subject.lock_file,
        terraform=subject.terraform,
    )
