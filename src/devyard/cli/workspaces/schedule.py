"""`devyard schedule`: when workspaces start and stop by themselves."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import msgspec

from devyard.cli.durations import parse_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.output import Column, Listing, ago, list_options, note, short_duration
from devyard.cli.settings import Settings
from devyard.cli.workspaces.crontext import ScheduleError, build_schedule, describe_schedule
from devyard.cli.workspaces.list import stops_after
from devyard.cli.workspaces.targets import load_named
from devyard.sdk import workspaces
from devyard.wire.workspaces import Workspace

COLUMNS: tuple[Column[Workspace], ...] = (
    Column("workspace", lambda w: f"{w.owner_name}/{w.name}"),
    Column("starts at", lambda w: describe_schedule(w.autostart_schedule) if w.autostart_schedule else ""),
    Column("starts next", lambda w: ago(w.next_start_at) if w.next_start_at else ""),
    Column("stops after", stops_after),
    Column("stops next", lambda w: _deadline(w)),
)


@click.group("schedule")
def schedule() -> None:
    """When workspaces start and stop by themselves."""


@schedule.command("show")
@click.argument("workspace", default="")
@click.option("-a", "--all", "include_all", is_flag=True, help="Workspaces of everybody you may see.")
@click.option("--search", default="owner:me", metavar="QUERY", help="Filter, as for list.")
@list_options(COLUMNS)
@click.pass_obj
def show(settings: Settings, workspace: str, include_all: bool, search: str, listing: Listing[Workspace]) -> None:
    """Show the schedule of one workspace, or of several."""
    client = settings.client()
    if workspace:
        found = [load_named(client, workspace)]
    else:
        found = workspaces.list_workspaces(client, "" if include_all else search, limit=1000).workspaces
    listing.show(found, lambda: msgspec.json.encode(found), "No workspaces.")


@schedule.command("start")
@click.argument("workspace")
@click.argument("when", nargs=-1, required=True)
@click.pass_obj
def start(settings: Settings, workspace: str, when: tuple[str, ...]) -> None:
    """Start it by itself: TIME [DAYS] [TIME ZONE], as `9:30AM Mon-Fri Europe/Berlin`, or `manual`."""
    client = settings.client()
    found = load_named(client, workspace)
    if when == ("manual",):
        workspaces.set_autostart(client, found.id, None)
        note(f"Workspace {found.name} starts only when you start it.")
        return
    try:
        cron = build_schedule(list(when), local_zone())
    except ScheduleError as error:
        raise CommandFailed(str(error)) from None
    workspaces.set_autostart(client, found.id, cron)
    note(f"Workspace {found.name} starts at {describe_schedule(cron)}.")


@schedule.command("stop")
@click.argument("workspace")
@click.argument("after", metavar="DURATION | manual")
@click.pass_obj
def stop(settings: Settings, workspace: str, after: str) -> None:
    """Stop it by itself some time after each start, as `8h`, or `manual`."""
    client = settings.client()
    found = load_named(client, workspace)
    if after == "manual":
        workspaces.set_ttl(client, found.id, None)
        note(f"Workspace {found.name} stops only when you stop it.")
        return
    duration = _duration(after)
    workspaces.set_ttl(client, found.id, int(duration.total_seconds() * 1000))
    note(f"Workspace {found.name} stops {short_duration(duration)} after each start.")


@click.command("extend")
@click.argument("workspace")
@click.argument("duration", metavar="DURATION_FROM_NOW")
@click.pass_obj
def extend(settings: Settings, workspace: str, duration: str) -> None:
    """Move this run's stop to a time from now, as `2h`."""
    client = settings.client()
    found = load_named(client, workspace)
    span = _duration(duration)
    workspaces.extend_deadline(client, found.id, datetime.now(UTC) + span)
    note(f"Workspace {found.name} stops in {short_duration(span)}.")


schedule.add_command(extend)
schedule.add_command(click.Command("override-stop", callback=extend.callback, params=extend.params, hidden=True))


def local_zone() -> str:
    """This machine's time zone by name, UTC when it can't be told."""
    name = os.environ.get("TZ", "").lstrip(":")
    if name and "/" in name and not name.startswith("/"):
        return name
    target = str(Path("/etc/localtime").resolve())
    _, marker, zone = target.partition("/zoneinfo/")
    return zone if marker and zone else "UTC"


def _duration(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise CommandFailed(f"{text!r} is no duration; write it as 8h, 90m or 1h30m.")
    return duration


def _deadline(workspace: Workspace) -> str:
    deadline = workspace.latest_build.deadline
    return ago(deadline) if isinstance(deadline, datetime) else ""
