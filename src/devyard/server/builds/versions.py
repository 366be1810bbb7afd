"""Which template version a build takes, and what of the version counts for it: presets, provisioner tags.

Called by builds/create and by the action that makes a workspace.
"""

from collections.abc import Mapping
from uuid import UUID

from devyard.server.access.rules import Actor, is_allowed
from devyard.server.builds import queries
from devyard.server.builds.queries import LatestRow, VersionRow
from devyard.server.db.pool import Connection
from devyard.server.http.ids import present_id
from devyard.server.workspaces.heads import WorkspaceHead
from devyard.wire.errors import Conflict, Forbidden, Invalid, ValidationError
from devyard.wire.templates import ParameterValue
from devyard.wire.workspaces import CreateBuildRequest


async def decide_version(
    connection: Connection,
    actor: Actor,
    workspace: WorkspaceHead,
    latest: LatestRow | None,
    request: CreateBuildRequest,
) -> VersionRow:
    """The version that a request means: the one named, the active one where starts follow it, else the last one.

    Raises:
        Invalid: the template has no such version, or it can't be used. Conflict: it is archived.
        Forbidden: the template allows starts on its active version only.
    """
    wanted = present_id(request.template_version_id)
    is_start = request.transition == "start"
    must_follow = workspace.require_active_version and not is_admin(actor, workspace.organization_id)
    if wanted is None and is_start and (must_follow or workspace.automatic_updates == "always"):
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


def is_admin(actor: Actor, organization_id: UUID) -> bool:
    """Whether the actor looks after templates there."""
    return is_allowed(actor, "template:update", organization_id=organization_id)


def merge_tags(own: Mapping[str, str], evaluated: Mapping[str, str]) -> dict[str, str]:
    """The tags of a build's job: the version's own with those of `coder_workspace_tags` for the build's values.

    `evaluated` are those that the import worked out from the parameters' defaults, unless the caller knows better.
    The template's author declares them, so they win over what the version was pushed with.
    """
    return {**own, **evaluated}
