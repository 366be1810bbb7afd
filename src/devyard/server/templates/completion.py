"""What the results of imports and dry runs mean. Called by jobs/results.py inside its transaction."""

from typing import Any
from uuid import uuid4

import msgspec

from devyard.server.db.pool import Connection
from devyard.server.forms.queries import update_dynamic
from devyard.server.jobs.queries import JobRow
from devyard.server.jobs.tags import keep_workspace_tags
from devyard.server.packages.actions import keep_with_version
from devyard.server.services import Services
from devyard.server.templates import version_queries
from devyard.server.templates.planned import keep_planned
from devyard.server.templates.rules import decide_values
from devyard.wire.errors import Invalid
from devyard.wire.parameters import check_definition
from devyard.wire.provisionerlink import DryRunDone, ImportDone
from devyard.wire.provisionerresults import TemplateVariableResult

MAX_README_CHARS = 256 * 1024
MAX_PARAMETERS = 500


async def complete_import(connection: Connection, services: Services, job: JobRow, result: ImportDone) -> None:
    """Keep what the import has found with its version.

    Raises:
        Invalid: two parameters share a name, one is not sound, there are far too many, or a value was given for a
            variable that there is not; the job has to fail.
    """
    names = [parameter.name for parameter in result.parameters]
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(names) <= MAX_PARAMETERS else ["…"]
    if doubled:
        raise Invalid(f'The template declares the parameter "{doubled[0]}" more than once, or too many of them.')
    for parameter in result.parameters:
        if problems := check_definition(parameter):
            raise Invalid(f'The parameter "{parameter.name}" is not sound: {problems[0]}')
    content = await version_queries.get_content(connection, job.template_version_id)
    if content is not None and content.variable_values:
        declared = [variable.name for variable in result.variables]
        values = decide_values(content.variable_values, declared)
        await version_queries.update_variable_values(connection, job.template_version_id, values)
    presets = [{"id": str(uuid4()), **msgspec.to_builtins(preset)} for preset in result.presets]
    await version_queries.update_content(
        connection,
        job.template_version_id,
        readme=result.readme[:MAX_README_CHARS].replace("\0", ""),
        parameters=_builtins(sorted(result.parameters, key=lambda parameter: (parameter.order, parameter.name))),
        variables=[keep_variable(variable) for variable in result.variables],
        presets=presets,
        resources=[*keep_planned("start", result.start_resources), *keep_planned("stop", result.stop_resources)],
        agent_resources=result.agent_resources,
        external_auths=result.external_auths,
        warnings=result.warnings,
    )
    await update_dynamic(connection, job.template_version_id, result.dynamic_parameters)
    await keep_with_version(connection, job.template_version_id, result)
    if result.workspace_tags:
        await keep_workspace_tags(connection, job.template_version_id, result.workspace_tags)


async def complete_dry_run(connection: Connection, services: Services, job: JobRow, result: DryRunDone) -> None:
    """Keep what a start would make with its job."""
    kept = {"resources": keep_planned("start", result.resources)}
    await version_queries.update_result(connection, job.id, kept)


def keep_variable(variable: TemplateVariableResult) -> dict[str, Any]:
    """A variable as JSON; the default of a sensitive one is shown to nobody, so it is not kept."""
    kept = msgspec.structs.replace(variable, default_value="") if variable.sensitive else variable
    found: dict[str, Any] = msgspec.to_builtins(kept)
    return found


def _builtins(values: Any) -> list[Any]:
    found: list[Any] = msgspec.to_builtins(list(values))
    return found
