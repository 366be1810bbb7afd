"""A start build's parameter values: what stays from the last build, what is given, what has to be asked.

Called by start, restart and update. Invariant: nothing is asked of the server where nothing can have changed.
"""

from pathlib import Path

from devyard.cli.output import note
from devyard.cli.workspaces.parameters import Given, read_given
from devyard.cli.workspaces.values import decide_values
from devyard.sdk import builds, templates
from devyard.sdk.client import Client
from devyard.wire.workspaces import CreateBuildRequest, Workspace


def prepare_build(
    client: Client,
    workspace: Workspace,
    request: CreateBuildRequest,
    *,
    asks: bool,
    parameters: tuple[str, ...] = (),
    parameter_defaults: tuple[str, ...] = (),
    rich_parameter_file: Path | None = None,
    ephemeral: tuple[str, ...] = (),
    asks_ephemeral: bool = False,
    always_prompt: bool = False,
) -> CreateBuildRequest:
    """The request with parameter values. Raises CommandFailed for what is missing or wrong."""
    given = read_given(
        parameters, parameter_defaults, rich_parameter_file, ephemeral, asks_ephemeral, always_prompt
    )
    version_id = request.template_version_id or workspace.latest_build.template_version_id
    is_same_version = version_id == workspace.latest_build.template_version_id
    if is_same_version and given == Given():
        return request
    asked = templates.list_parameters(client, version_id)
    previous = {p.name: p.value for p in builds.list_parameters(client, workspace.latest_build.id)}
    if not is_same_version and (gone := sorted(previous.keys() - {parameter.name for parameter in asked})):
        note(f"No longer used by this version: {', '.join(gone)}")
    request.rich_parameter_values = decide_values(asked, given, previous=previous, is_terminal=asks)
    return request
