"""`devyard provisioner`: the processes that run Terraform, their keys and their jobs. `start` is the program."""

from collections.abc import Mapping
from typing import get_args

import click
import msgspec

from devyard.cli.lazy import Entry, LazyGroup, load_command
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import Column, Listing, ago, list_options
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.parameters import parse_pairs
from devyard.sdk import provisioners as api
from devyard.wire.enums import DaemonStatus
from devyard.wire.jobs import DaemonJob, ProvisionerDaemon

_HERE = "devyard.cli.provisioners."

COLUMNS: tuple[Column[ProvisionerDaemon], ...] = (
    Column("id", lambda d: str(d.id), is_default=False),
    Column("name", lambda d: d.name),
    Column("status", lambda d: d.status or ""),
    Column("current job", lambda d: describe_job(d.current_job)),
    Column("current job id", lambda d: str(d.current_job.id) if d.current_job else "", is_default=False),
    Column("previous job", lambda d: describe_job(d.previous_job, with_status=True)),
    Column("previous job id", lambda d: str(d.previous_job.id) if d.previous_job else "", is_default=False),
    Column("previous job status", lambda d: d.previous_job.status if d.previous_job else "", is_default=False),
    Column(
        "last seen at", lambda d: ago(d.last_seen_at) if not isinstance(d.last_seen_at, msgspec.UnsetType) else ""
    ),
    Column("version", lambda d: d.version),
    Column("key name", lambda d: d.key_name or ""),
    Column("tags", lambda d: render_tags(d.tags)),
    Column("created at", lambda d: ago(d.created_at), is_default=False),
    Column("organization id", lambda d: str(d.organization_id), is_default=False),
)


tag_option = click.option(
    "-t", "--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Only those with this tag; repeatable."
)


@click.group(
    "provisioner",
    cls=LazyGroup,
    entries={
        "jobs": Entry(_HERE + "jobs:jobs", "Jobs of provisioners.", ("job",)),
        "keys": Entry(_HERE + "keys:keys", "Keys with which provisioners sign in.", ("key",)),
        "start": Entry(_HERE + "command:load_start", "Run a provisioner.", is_factory=True),
    },
)
def provisioners() -> None:
    """Provisioners, their keys and their jobs."""


def load_start() -> click.Command:
    """The program's own command, imported now."""
    group = load_command("start", Entry(_HERE + "start:provisioner", ""))
    assert isinstance(group, click.Group)
    return group.commands["start"]


@provisioners.command("list")
@organization_option
@click.option(
    "-l",
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    envvar=variables("PROVISIONER_LIST_LIMIT"),
    help="At most so many.",
)
@click.option(
    "-s", "--status", multiple=True, type=click.Choice(get_args(DaemonStatus)), help="Only these; repeatable."
)
@tag_option
@click.option("--online", is_flag=True, help="Only those that are connected.")
@click.option("--max-age", metavar="DURATION", help="Only those seen within that time, as 15m.")
@list_options(COLUMNS)
@click.pass_obj
def list_daemons(
    settings: Settings,
    org: str,
    limit: int,
    status: tuple[str, ...],
    tags: tuple[str, ...],
    online: bool,
    max_age: str | None,
    listing: Listing[ProvisionerDaemon],
) -> None:
    """List provisioners, connected now or seen lately."""
    wanted = parse_pairs(tags, "--tag")
    client = settings.client()
    found = api.list_daemons(
        client,
        choose_organization(client, org),
        limit,
        statuses=status,
        tags=wanted,
        is_offline_shown=not online,
        max_age=max_age,
    )
    empty = (
        "No such provisioners."
        if status or wanted or online or max_age
        else "No provisioners. Run one: devyard provisioner start"
    )
    listing.show(found, lambda: msgspec.json.encode(found), empty)


def describe_job(job: DaemonJob | None, *, with_status: bool = False) -> str:
    """A job in a table's cell: its template, and how it ended."""
    if job is None:
        return ""
    name = job.template_display_name or job.template_name or str(job.id)
    return f"{name} ({job.status})" if with_status else name


def render_tags(tags: Mapping[str, str]) -> str:
    """Tags in a table's cell: `cluster=eu scope=organization`."""
    return " ".join(f"{name}={value}" for name, value in sorted(tags.items()))


provisioners.add_aliases({"ls": "list"})
