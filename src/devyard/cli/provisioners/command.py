"""`devyard provisioner`: the processes that run Terraform, and their jobs. `start` is a program of its own."""

from typing import get_args

import click
import msgspec

from devyard.cli.lazy import Entry, LazyGroup, load_command
from devyard.cli.output import Column, Listing, ago, list_options
from devyard.cli.settings import Settings, variables
from devyard.cli.templates.command import choose_organization, organization_option
from devyard.sdk import organizations
from devyard.wire.enums import JobStatus
from devyard.wire.jobs import ProvisionerDaemon, ProvisionerJob

COLUMNS: tuple[Column[ProvisionerDaemon], ...] = (
    Column("id", lambda d: str(d.id), is_default=False),
    Column("name", lambda d: d.name),
    Column("status", lambda d: d.status or ""),
    Column("key name", lambda d: d.key_name or ""),
    Column("created at", lambda d: ago(d.created_at), is_default=False),
    Column(
        "last seen at", lambda d: ago(d.last_seen_at) if not isinstance(d.last_seen_at, msgspec.UnsetType) else ""
    ),
    Column("version", lambda d: d.version),
    Column("tags", lambda d: _tags(d.tags)),
    Column("current job", lambda d: str(d.current_job.id) if d.current_job else "", is_default=False),
    Column("previous job status", lambda d: d.previous_job.status if d.previous_job else "", is_default=False),
)
JOB_COLUMNS: tuple[Column[ProvisionerJob], ...] = (
    Column("created at", lambda j: ago(j.created_at)),
    Column("id", lambda j: str(j.id)),
    Column("type", lambda j: j.type),
    Column("template", lambda j: j.metadata.template_name),
    Column("workspace", lambda j: j.metadata.workspace_name if isinstance(j.metadata.workspace_name, str) else ""),
    Column("status", lambda j: j.status),
    Column("queue", lambda j: f"{j.queue_position}/{j.queue_size}" if j.status == "pending" else ""),
    Column("worker", lambda j: j.worker_name if isinstance(j.worker_name, str) else "", is_default=False),
    Column("tags", lambda j: _tags(j.tags), is_default=False),
    Column("error", lambda j: j.error if isinstance(j.error, str) else "", is_default=False),
)


@click.group(
    "provisioner",
    cls=LazyGroup,
    entries={"start": Entry("devyard.cli.provisioners.command:load_start", "Run a provisioner.", is_factory=True)},
)
def provisioners() -> None:
    """Provisioners and their jobs."""


def load_start() -> click.Command:
    """The program's own command, imported now."""
    group = load_command("start", Entry("devyard.cli.provisioners.start:provisioner", ""))
    assert isinstance(group, click.Group)
    return group.commands["start"]


@provisioners.command("list")
@organization_option
@click.option(
    "-l", "--limit", type=click.IntRange(1, 1000), default=50, envvar=variables("PROVISIONER_LIST_LIMIT")
)
@list_options(COLUMNS)
@click.pass_obj
def list_daemons(settings: Settings, org: str, limit: int, listing: Listing[ProvisionerDaemon]) -> None:
    """List provisioners, connected now or seen lately."""
    client = settings.client()
    found = organizations.list_daemons(client, choose_organization(client, org), limit)
    listing.show(found, lambda: msgspec.json.encode(found), "No provisioners.")


@click.group("jobs", cls=LazyGroup)
def jobs() -> None:
    """Jobs of provisioners."""


@jobs.command("list")
@organization_option
@click.option("-l", "--limit", type=click.IntRange(1, 1000), default=50, help="At most so many.")
@click.option(
    "-s", "--status", multiple=True, type=click.Choice(get_args(JobStatus)), help="Only these; repeatable."
)
@list_options(JOB_COLUMNS)
@click.pass_obj
def list_jobs(
    settings: Settings, org: str, limit: int, status: tuple[str, ...], listing: Listing[ProvisionerJob]
) -> None:
    """List jobs, newest first."""
    client = settings.client()
    found = organizations.list_jobs(client, choose_organization(client, org), limit, ",".join(status) or None)
    listing.show(found, lambda: msgspec.json.encode(found), "No jobs.")


def _tags(tags: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(tags.items()))


provisioners.add_command(jobs)
provisioners.add_aliases({"ls": "list", "job": "jobs"})
jobs.add_aliases({"ls": "list"})
