"""`devyard templates edit`: a template's settings; what is not given stays."""

from datetime import timedelta
from typing import Any

import click

from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import organization_option
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings
from devyard.cli.switches import SwitchCommand
from devyard.cli.templates.command import load_template
from devyard.sdk import templates
from devyard.wire.templates import AutostartRequirement, AutostopRequirement, Template, UpdateTemplateRequest

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHARE_LEVELS = ("owner", "authenticated", "organization", "public")

_TEXTS = {
    "--name": "New name.",
    "--display-name": "Name shown to people.",
    "--description": "One or two sentences.",
    "--icon": "URL or /icon/… path.",
    "--deprecated": "Why it should not be used any more; empty takes it back.",
}
_DURATIONS = {
    "--default-ttl": "Stop workspaces that long after a start.",
    "--activity-bump": "How much use moves that stop.",
    "--failure-ttl": "Stop a failed start after that long; 0 leaves it.",
    "--dormancy-threshold": "Make workspaces dormant that are unused that long; 0 never.",
    "--dormancy-auto-deletion": "Delete workspaces that are dormant that long; 0 never.",
}
_SWITCHES = {
    "--allow-user-autostart": "Whether users choose when their workspaces start.",
    "--allow-user-autostop": "Whether users choose when their workspaces stop.",
    "--allow-user-cancel-workspace-jobs": "Whether users may cancel builds.",
    "--require-active-version": "Whether workspaces start on the active version only.",
    "--private": "Whether it is taken from the members of the organization.",
}


def milliseconds(duration: timedelta | None) -> int | None:
    """As the API has it."""
    return None if duration is None else int(duration.total_seconds() * 1000)


def _setting_options(function: Any) -> Any:
    for table, type_, metavar in (
        (_SWITCHES, bool, "[true|false]"),
        (_DURATIONS, read_duration, "DURATION"),
        (_TEXTS, str, "TEXT"),
    ):
        for name, help_ in reversed(table.items()):
            parameter = "new_name" if name == "--name" else name[2:].replace("-", "_")
            function = click.option(name, parameter, type=type_, metavar=metavar, default=None, help=help_)(
                function
            )
    return function


@click.command("edit", cls=SwitchCommand)
@click.argument("template")
@organization_option
@_setting_options
@click.option(
    "--autostart-requirement-weekdays",
    "autostart_days",
    multiple=True,
    metavar="DAYS",
    help="Days on which workspaces may start by themselves: monday,tuesday … or all.",
)
@click.option(
    "--autostop-requirement-weekdays",
    "autostop_days",
    multiple=True,
    metavar="DAYS",
    help="Days on which workspaces have to stop once: monday,tuesday … or none.",
)
@click.option(
    "--autostop-requirement-weeks", "autostop_weeks", type=click.IntRange(1, 16), help="Every so many weeks."
)
@click.option(
    "--max-port-share-level", "share_level", type=click.Choice(SHARE_LEVELS), help="How far ports may be shared."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def edit(
    settings: Settings,
    /,
    template: str,
    org: str,
    autostart_days: tuple[str, ...],
    autostop_days: tuple[str, ...],
    autostop_weeks: int | None,
    share_level: str | None,
    yes: bool,
    **given: Any,
) -> None:
    """Change a template's settings; what is not given stays."""
    request = UpdateTemplateRequest(
        name=given["new_name"],
        display_name=given["display_name"],
        description=given["description"],
        icon=given["icon"],
        deprecation_message=given["deprecated"],
        default_ttl_ms=milliseconds(given["default_ttl"]),
        activity_bump_ms=milliseconds(given["activity_bump"]),
        failure_ttl_ms=milliseconds(given["failure_ttl"]),
        time_til_dormant_ms=milliseconds(given["dormancy_threshold"]),
        time_til_dormant_autodelete_ms=milliseconds(given["dormancy_auto_deletion"]),
        allow_user_autostart=given["allow_user_autostart"],
        allow_user_autostop=given["allow_user_autostop"],
        allow_user_cancel_workspace_jobs=given["allow_user_cancel_workspace_jobs"],
        require_active_version=given["require_active_version"],
        disable_everyone_group_access=bool(given["private"]),
        max_port_share_level=share_level,
    )
    if autostart_days:
        request.autostart_requirement = AutostartRequirement(read_days(autostart_days, every="all"))
    days = read_days(autostop_days, nothing="none") if autostop_days else None
    if request == UpdateTemplateRequest() and days is None and autostop_weeks is None:
        raise CommandFailed("Nothing to change was given. See: devyard templates edit --help")
    client = settings.client()
    found = load_template(client, org, template)
    if days is not None or autostop_weeks is not None:
        request.autostop_requirement = _merge_autostop(found, days, autostop_weeks)
    if settings.is_terminal and not yes:
        confirm(f"Change template {found.name}?", default=True)
    templates.update_template(client, found.id, request)
    note(f"Template {request.name or found.name} is changed.")


def read_days(words: tuple[str, ...], *, every: str = "", nothing: str = "") -> list[str]:
    """Weekday names from words and comma lists, in the week's order. Raises CommandFailed."""
    names = [name.strip().lower() for word in words for name in word.split(",") if name.strip()]
    if every and names == [every]:
        return list(WEEKDAYS)
    if nothing and names == [nothing]:
        return []
    for name in names:
        if name not in WEEKDAYS:
            raise CommandFailed(f"{name!r} is no weekday; write {', '.join(WEEKDAYS)}, or {every or nothing}.")
    return [day for day in WEEKDAYS if day in names]


def _merge_autostop(template: Template, days: list[str] | None, weeks: int | None) -> AutostopRequirement:
    """Days and weeks are one setting of the API; the one that is not given stays."""
    before = template.autostop_requirement
    return AutostopRequirement(
        before.days_of_week if days is None else days, weeks if weeks is not None else max(before.weeks, 1)
    )
