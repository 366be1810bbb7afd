"""Working out forms: for those who fill them in, and for builds whose values have to pass.

Called by api.py and by builds/dynamic.py. Nothing is written here. Invariant: a workspace's last values are shown
to no one who may not read it.
"""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from devyard.server.access.rules import Actor, check
from devyard.server.forms.routing import route
from devyard.server.forms.subjects import FormSubject, load_previous, load_subject
from devyard.server.http.ids import present_id
from devyard.server.services import Services
from devyard.server.templates.version_queries import VersionRow
from devyard.server.workspaces.heads import WorkspaceHead, get_head
from devyard.wire.errors import Invalid, NotFound, ValidationError
from devyard.wire.forms import DynamicParametersRequest
from devyard.wire.parameters import MAX_NAME_LENGTH
from devyard.wire.provisionerforms import FormAnswer

MAX_INPUTS = 500


class OpenForm(msgspec.Struct, frozen=True):
    """A form that somebody fills in. `previous`: the workspace's last values."""

    subject: FormSubject
    previous: Mapping[str, str]


async def evaluate_form(
    services: Services,
    version_id: UUID,
    owner_id: UUID,
    inputs: Mapping[str, str],
    previous: Mapping[str, str],
    workspace: WorkspaceHead | None = None,
) -> FormAnswer:
    """The form of a version for values that were given; those of the last build stand for what was not.

    Takes as long as a provisioner needs: never call it inside a transaction.

    Raises:
        NotFound, PreconditionFailed: the version can't be used. Unavailable: no provisioner has answered in time.
    """
    subject = await load_subject(services, version_id, owner_id, workspace)
    return await _evaluate(services, subject, inputs, previous)


async def open_form(
    services: Services,
    actor: Actor,
    version: VersionRow,
    owner_id: UUID | None,
    workspace_id: UUID | None,
) -> OpenForm:
    """A form of a version that the actor may use, for themselves or for whom they may make workspaces.

    Raises:
        NotFound, Forbidden: another owner, or a workspace, that the actor has nothing to do with.
        Invalid: the workspace is of another template. PreconditionFailed: the import has not succeeded.
    """
    owner_id = present_id(owner_id) or actor.user_id
    workspace_id = present_id(workspace_id)
    workspace = None
    previous: Mapping[str, str] = {}
    if workspace_id:
        workspace = await get_head(services.pool, workspace_id)
        if workspace is None or workspace.deleted_at is not None:
            raise NotFound
        owner_id = workspace.owner_id
        check(actor, "workspace:read", owner_id=owner_id, organization_id=workspace.organization_id)
        if workspace.template_id != version.template_id:
            detail = "The workspace is of another template."
            raise Invalid(detail, validations=[ValidationError("workspace_id", detail)])
        previous = await load_previous(services.pool, workspace.id)
    else:
        check(actor, "workspace:create", owner_id=owner_id, organization_id=version.organization_id)
    return OpenForm(await load_subject(services, version.id, owner_id, workspace), previous)


async def fill_form(
    services: Services, actor: Actor, form: OpenForm, request: DynamicParametersRequest
) -> FormAnswer:
    """The form for the request's values. Raises Invalid, RateLimited, Unavailable."""
    check_inputs(request.inputs)
    with services.forms.counted(actor.user_id):
        return await _evaluate(services, form.subject, request.inputs, form.previous)


def check_inputs(inputs: Mapping[str, str]) -> None:
    """Raises Invalid: too many values, or what can't be a name or a value."""
    if any("\0" in text for pair in inputs.items() for text in pair):
        detail = "Names and values can't hold the character NUL."
        raise Invalid(detail, validations=[ValidationError("inputs", detail)])
    if len(inputs) > MAX_INPUTS or any(len(name) > MAX_NAME_LENGTH for name in inputs):
        detail = f"At most {MAX_INPUTS} values are taken, their names with at most {MAX_NAME_LENGTH} characters."
        raise Invalid(detail, validations=[ValidationError("inputs", detail)])


async def _evaluate(
    services: Services, subject: FormSubject, given: Mapping[str, str], previous: Mapping[str, str]
) -> FormAnswer:
    """A second time where the last build's values hold some that counted for that build only: the form knows."""
    answer = await route(services, subject, {**previous, **given}, previous)
    ephemeral = {parameter.definition.name for parameter in answer.parameters if parameter.definition.ephemeral}
    if ephemeral.isdisjoint(previous):
        return answer
    kept = {name: value for name, value in previous.items() if name not in ephemeral}
    return await route(services, subject, {**kept, **given}, kept)
