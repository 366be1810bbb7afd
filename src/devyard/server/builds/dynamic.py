"""Parameter values and tags of builds whose template makes them depend on the owner or on each other.

Called by create.py and by the action that makes a workspace: the form is worked out first, outside any transaction
(`evaluate_*`), and what it says is applied inside (`decide_values`). Invariant: values are checked against a form
that was worked out for this very version and these very last values, or the build is refused.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from devyard.server.access.rules import Actor, is_allowed
from devyard.server.builds import rules
from devyard.server.builds.queries import VersionRow
from devyard.server.forms.actions import check_inputs, evaluate_form
from devyard.server.forms.subjects import load_previous
from devyard.server.jobs.rules import normalize_tags
from devyard.server.services import Services
from devyard.server.workspaces.heads import WorkspaceHead
from devyard.wire.enums import Transition
from devyard.wire.errors import Conflict, Invalid, Unavailable
from devyard.wire.parameters import ParameterDefinition
from devyard.wire.provisionerforms import FormAnswer
from devyard.wire.templates import ParameterValue


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """The form that a start was checked with."""

    version_id: UUID
    previous: Mapping[str, str]
    definitions: Sequence[ParameterDefinition]
    workspace_tags: Mapping[str, str]


async def evaluate_start(
    services: Services,
    actor: Actor,
    owner_id: UUID,
    version: VersionRow,
    given: Sequence[ParameterValue],
    workspace: WorkspaceHead | None = None,
) -> Evaluated | None:
    """The form for a start with these values; None where the import already knows all parameters.

    `workspace` is None for one that is about to be made. Who may not start it gets None too, and is refused later.

    Raises:
        Invalid: the template can't be evaluated with these values. Unavailable: no provisioner could.
    """
    if not version.dynamic_parameters:
        return None
    permission = "workspace:start" if workspace else "workspace:create"
    if not is_allowed(actor, permission, owner_id=owner_id, organization_id=version.organization_id):
        return None
    inputs = {value.name: value.value for value in given}
    check_inputs(inputs)
    previous = await load_previous(services.pool, workspace.id) if workspace else {}
    answer = await evaluate_form(services, version.id, owner_id, inputs, previous, workspace)
    _check_answer(answer)
    return Evaluated(
        version_id=version.id,
        previous=previous,
        definitions=[parameter.definition for parameter in answer.parameters],
        workspace_tags=normalize_tags(answer.workspace_tags),
    )


def decide_values(
    version: VersionRow,
    evaluated: Evaluated | None,
    given: Sequence[ParameterValue],
    previous: Mapping[str, str] | None,
    transition: Transition,
) -> dict[str, str]:
    """A build's values as `rules.decide_parameters` decides them, with the parameters that the form has.

    A value given for a parameter that the form leaves out now is dropped. Stopping and deleting keep all values.

    Raises:
        Invalid: by the rules. Conflict: the workspace or its template has changed since the form was worked out.
    """
    if not version.dynamic_parameters:
        return rules.decide_parameters(version.parameters, given, previous, transition)
    if transition != "start":
        return {**(previous or {}), **rules.decide_parameters(version.parameters, given, previous, transition)}
    if evaluated is None or evaluated.version_id != version.id or evaluated.previous != (previous or {}):
        raise Conflict("The workspace or its template was changed at the same moment; try again.")
    shown = {definition.name for definition in evaluated.definitions}
    hidden = {definition.name for definition in version.parameters} | set(evaluated.previous) - shown
    kept = [value for value in given if value.name in shown or value.name not in hidden]
    return rules.decide_parameters(evaluated.definitions, kept, previous, transition)


def _check_answer(answer: FormAnswer) -> None:
    if answer.error:
        raise Unavailable(f"The template's parameters can't be worked out: {answer.error}")
    for problem in answer.problems:
        if problem.severity == "error":
            raise Invalid(
                f"The template can't be evaluated with these values: {problem.summary}", detail=problem.detail
            )
