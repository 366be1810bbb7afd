"""`devyard create`: a workspace from a template, to the moment when its agent takes connections."""

from datetime import timedelta
from pathlib import Path

import click

from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.nearby import hint_nearest
from devyard.cli.output import note
from devyard.cli.prompts import ask, confirm
from devyard.cli.queueing import warn_unmatched
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.parameters import Given, parameter_options, read_given
from devyard.cli.workspaces.presets import choose_preset
from devyard.cli.workspaces.targets import load_named, parse_target
from devyard.cli.workspaces.values import decide_values
from devyard.sdk import builds, templates, workspaces
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound
from devyard.wire.templates import Template, TemplateVersion
from devyard.wire.workspaces import CreateWorkspaceRequest, Workspace


@click.command("create")
@click.argument("name", metavar="[OWNER/]WORKSPACE", default="")
@click.option(
    "-t", "--template", "template_name", default="", envvar=variables("TEMPLATE_NAME"), help="Its template."
)
@click.option(
    "--template-version",
    "version_name",
    default="",
    envvar=variables("TEMPLATE_VERSION"),
    help="Another version than the active one.",
)
@click.option(
    "--preset", default="", envvar=variables("PRESET_NAME"), help="A named bundle of parameter values, or none."
)
@parameter_options
@click.option("--copy-parameters-from", default="", metavar="WORKSPACE", help="Take that workspace's values.")
@click.option("--start-at", default="", metavar="SCHEDULE", help='As "9:30AM Mon-Fri Europe/Berlin".')
@click.option(
    "--stop-after", type=read_duration, metavar="DURATION", help="Stop that long after each start, as 8h."
)
@click.option("--automatic-updates", type=click.Choice(["always", "never"]), default="never")
@click.option("-O", "--org", default="", envvar=variables("ORGANIZATION"), help="Organization of the template.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the build is queued.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing; take defaults.")
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    template_name: str,
    version_name: str,
    preset: str,
    parameters: tuple[str, ...],
    rich_parameter_file: Path | None,
    parameter_defaults: tuple[str, ...],
    copy_parameters_from: str,
    start_at: str,
    stop_after: timedelta | None,
    automatic_updates: str,
    org: str,
    no_wait: bool,
    yes: bool,
) -> None:
    """Create a workspace and wait until its agent has connected."""
    client = settings.client()
    asks = settings.is_terminal and not yes
    if not name and not asks:
        raise CommandFailed("Which name? Write: devyard create NAME --template TEMPLATE")
    owner, workspace_name, _ = parse_target(name or ask("Name of the workspace"))
    refuse_existing(client, owner, workspace_name)
    template = choose_template(client, template_name, org, asks=asks)
    version = choose_version(client, template, version_name)
    given = read_given(parameters, parameter_defaults, rich_parameter_file)
    parameters_asked = templates.list_parameters(client, version.id)
    chosen = choose_preset(templates.list_presets(client, version.id), preset, asks=asks)
    base = _copied_values(client, version, copy_parameters_from)
    if chosen:
        base |= {parameter.Name: parameter.Value for parameter in chosen.Parameters}
    given = Given({**base, **given.values}, given.defaults, given.ephemeral, given.asks_ephemeral)
    values = decide_values(parameters_asked, given, is_terminal=asks)
    if asks:
        from devyard.cli.workspaces.preview import show_plan

        show_plan(client, version, workspace_name, values, is_verbose=settings.is_verbose)
        confirm(f"Create workspace {workspace_name} from template {template.name} ({version.name})?", default=True)
    request = CreateWorkspaceRequest(
        workspace_name,
        template_version_id=version.id,
        autostart_schedule=_schedule(start_at),
        ttl_ms=int(stop_after.total_seconds() * 1000) if stop_after else None,
        rich_parameter_values=values,
        automatic_updates="always" if automatic_updates == "always" else "never",
        template_version_preset_id=chosen.ID if chosen else None,
    )
    workspace = workspaces.create_workspace(client, request, owner)
    if no_wait:
        warn_unmatched(workspace.latest_build.matched_provisioners, workspace.latest_build.job)
        note(f"Workspace {workspace.name} is being built. Follow it with: devyard logs -f {workspace.name}")
        return
    finish_start(client, workspace, is_verbose=settings.is_verbose)
    note(f"Workspace {workspace.name} is ready. Enter it with: devyard ssh {_label(owner, workspace.name)}")


def refuse_existing(client: Client, owner: str, name: str) -> None:
    """Says so before anything is asked. Raises CommandFailed."""
    try:
        workspaces.load_workspace(client, owner, name)
    except NotFound:
        return
    raise CommandFailed(f"There is a workspace {name!r} already. Choose another name, or: devyard start {name}")


def finish_start(client: Client, workspace: Workspace, *, is_verbose: bool = False) -> Workspace:
    """Follows a start build to the end and waits for the agents. Raises CommandFailed."""
    from devyard.cli.joblog import follow_build
    from devyard.cli.workspaces.waiting import wait_for_agents

    follow_build(client, workspace.latest_build, is_verbose=is_verbose)
    workspace = workspaces.get_workspace(client, workspace.id)
    wait_for_agents(client, workspace)
    if is_verbose:
        from devyard.cli.workspaces.buildtimes import show_timings

        show_timings(client, workspace.latest_build)
    return workspace


def choose_template(client: Client, name: str, organization: str, *, asks: bool) -> Template:
    """The template meant; the only one when none is named. Raises CommandFailed."""
    found = templates.list_templates(client, f'exact_name:"{_quotable(name)}"' if name else "")
    if organization:
        found = [t for t in found if organization in (t.organization_name, str(t.organization_id))]
    if name:
        found = [t for t in found if t.name == name]
    if not found:
        if name:
            near = hint_nearest(name, [t.name for t in templates.list_templates(client)])
            raise CommandFailed(
                f"There is no template {name!r} that you may use.{near} See: devyard templates list"
            )
        raise CommandFailed("There is no template yet. Add one with: devyard templates push NAME -d DIRECTORY")
    if len(found) == 1:
        return _refuse_deprecated(found[0])
    if name:
        names = ", ".join(t.organization_name for t in found)
        raise CommandFailed(f"Several organizations have a template {name!r}: {names}. Say which with --org.")
    if not asks:
        raise CommandFailed(f"Which template? Add --template with one of: {', '.join(t.name for t in found)}.")
    usable = [t for t in found if not t.deprecated]
    chosen = click.prompt("Template", type=click.Choice([t.name for t in usable]), err=True)
    return next(t for t in usable if t.name == chosen)


def _refuse_deprecated(template: Template) -> Template:
    if template.deprecated:
        why = f": {template.deprecation_message}" if template.deprecation_message else ""
        raise CommandFailed(
            f"Template {template.name} is deprecated{why}\nChoose another one: devyard templates list"
        )
    return template


def _quotable(name: str) -> str:
    return name.replace('"', "")


def choose_version(client: Client, template: Template, name: str) -> TemplateVersion:
    """A template's version by name; the active one without a name. Raises CommandFailed."""
    if not name:
        return templates.get_version(client, template.active_version_id)
    try:
        return templates.load_version(client, template.id, name)
    except NotFound:
        near = hint_nearest(name, [v.name for v in templates.list_versions(client, template.id)])
        raise CommandFailed(
            f"Template {template.name} has no version {name!r}.{near} "
            f"See: devyard templates versions list {template.name}"
        ) from None


def _copied_values(client: Client, version: TemplateVersion, copy_from: str) -> dict[str, str]:
    if not copy_from:
        return {}
    source = load_named(client, copy_from)
    known = {p.name for p in templates.list_parameters(client, version.id) if not p.ephemeral}
    last = builds.list_parameters(client, source.latest_build.id)
    left_out = sorted(p.name for p in last if p.name not in known)
    if left_out:
        note(f"Not copied, as this template has no such parameter: {', '.join(left_out)}")
    return {parameter.name: parameter.value for parameter in last if parameter.name in known}


def _schedule(start_at: str) -> str | None:
    if not start_at:
        return None
    from devyard.cli.workspaces.crontext import ScheduleError, build_schedule
    from devyard.cli.workspaces.schedule import local_zone

    try:
        return build_schedule(start_at.split(), local_zone())
    except ScheduleError as error:
        raise CommandFailed(str(error)) from None


def _label(owner: str, name: str) -> str:
    return name if owner == "me" else f"{owner}/{name}"
