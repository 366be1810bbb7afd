"""`devyard list`: workspaces as a table. The command that is typed most; it imports little and asks once."""

from datetime import datetime

import click
import msgspec

from devyard.cli.output import Column, Listing, ago, list_options, short_duration, yes_no
from devyard.cli.settings import Settings
from devyard.wire.workspaces import Workspace

PAGE_LIMIT = 1000


class _RawPage(msgspec.Struct):
    workspaces: msgspec.Raw
    count: int


def stops_after(workspace: Workspace) -> str:
    """How long a start lasts, and when the present one ends."""
    if not isinstance(workspace.ttl_ms, int) or not workspace.ttl_ms:
        return ""
    from datetime import timedelta

    text = short_duration(timedelta(milliseconds=workspace.ttl_ms))
    deadline = workspace.latest_build.deadline
    if isinstance(deadline, datetime) and workspace.latest_build.transition == "start":
        text += f" ({ago(deadline)})"
    return text


def starts_at(workspace: Workspace) -> str:
    """The schedule by which it starts by itself."""
    if not isinstance(workspace.autostart_schedule, str) or not workspace.autostart_schedule:
        return ""
    from devyard.cli.workspaces.crontext import describe_schedule

    return describe_schedule(workspace.autostart_schedule)


COLUMNS: tuple[Column[Workspace], ...] = (
    Column("favorite", lambda w: "*" if w.favorite else "", is_default=False),
    Column("workspace", lambda w: f"{w.owner_name}/{w.name}"),
    Column("workspace id", lambda w: str(w.id), is_default=False),
    Column("template", lambda w: w.template_name),
    Column("status", lambda w: w.latest_build.status),
    Column("healthy", lambda w: yes_no(w.health.healthy) if w.latest_build.status == "running" else ""),
    Column("last built", lambda w: ago(w.latest_build.created_at)),
    Column("last used", lambda w: ago(w.last_used_at), is_default=False),
    Column("current version", lambda w: w.latest_build.template_version_name),
    Column("outdated", lambda w: yes_no(w.outdated)),
    Column("starts at", starts_at),
    Column("starts next", lambda w: ago(w.next_start_at) if w.next_start_at else "", is_default=False),
    Column("stops after", stops_after),
    Column("stops next", lambda w: _deadline(w), is_default=False),
    Column("organization name", lambda w: w.organization_name, is_default=False),
    Column("daily cost", lambda w: str(w.latest_build.daily_cost), is_default=False),
)


@click.command("list")
@click.option("-a", "--all", "include_all", is_flag=True, help="Workspaces of everybody you may see.")
@click.option("-q", "--search", default="", metavar="QUERY", help="Filter, as: owner:me status:running.")
@list_options(COLUMNS)
@click.pass_obj
def list_command(settings: Settings, include_all: bool, search: str, listing: Listing[Workspace]) -> None:
    """List workspaces."""
    client = settings.client()
    query = search if include_all or search else "owner:me"
    page = client.get("/workspaces", _RawPage, q=query, limit=PAGE_LIMIT)
    if listing.is_json:
        listing.show([], lambda: bytes(page.workspaces))
        return
    workspaces = msgspec.json.decode(page.workspaces, type=list[Workspace])
    workspaces.sort(key=lambda w: not w.favorite)
    listing.show(workspaces, bytes, "No workspaces. Make one with: devyard create NAME")
    if page.count > len(workspaces):
        click.echo(f"{page.count - len(workspaces)} more; narrow it down with --search.", err=True)


def _deadline(workspace: Workspace) -> str:
    deadline = workspace.latest_build.deadline
    return ago(deadline) if isinstance(deadline, datetime) else ""
