"""`devyard provisioner jobs`: list and cancel."""

from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.lazy import LazyGroup
from devyard.cli.organizations import choose_organization, organization_option
from devyard.cli.output import Column, Listing, ago, list_options, note
from devyard.cli.provisioners.command import render_tags, tag_option
from devyard.cli.settings import Settings
from devyard.cli.workspaces.parameters import parse_pairs
from devyard.sdk import provisioners as api
from devyard.wire.enums import JobStatus, JobType
from devyard.wire.errors import NotFound
from devyard.wire.jobs import ProvisionerJob

COLUMNS: tuple[Column[ProvisionerJob], ...] = (
    Column("created at", lambda j: ago(j.created_at)),
    Column("id", lambda j: str(j.id)),
    Column("type", lambda j: j.type),
    Column("template", lambda j: j.metadata.template_name),
    Column("workspace", lambda j: j.metadata.workspace_name if isinstance(j.metadata.workspace_name, str) else ""),
    Column("status", lambda j: j.status),
    Column("queue", lambda j: f"{j.queue_position}/{j.queue_size}" if j.status == "pending" else ""),
    Column("took", lambda j: _took(j)),
    Column("template version", lambda j: j.metadata.template_version_name, is_default=False),
    Column(
        "available workers",
        lambda j: str(len(j.available_workers)) if isinstance(j.available_workers, list) else "",
        is_default=False,
    ),
    Column("worker", lambda j: j.worker_name if isinstance(j.worker_name, str) else "", is_default=False),
    Column("tags", lambda j: render_tags(j.tags), is_default=False),
    Column(
        "waiting reason",
        lambda j: j.waiting_reason if isinstance(j.waiting_reason, str) else "",
        is_default=False,
    ),
    Column("error", lambda j: j.error if isinstance(j.error, str) else "", is_default=False),
)


def _took(job: ProvisionerJob) -> str:
    """How long it has run, or ran."""
    if not isinstance(job.started_at, datetime):
        return ""
    end = job.completed_at if isinstance(job.completed_at, datetime) else datetime.now(UTC)
    return f"{max((end - job.started_at).total_seconds(), 0):.1f} s"


@click.group("jobs", cls=LazyGroup)
def jobs() -> None:
    """Jobs of provisioners."""


@jobs.command("list")
@organization_option
@click.option("-l", "--limit", type=click.IntRange(1, 1000), default=50, help="At most so many.")
@click.option(
    "-s", "--status", multiple=True, type=click.Choice(get_args(JobStatus)), help="Only these; repeatable."
)
@tag_option
@click.option(
    "--type", "type_", multiple=True, type=click.Choice(get_args(JobType)), help="Only these; repeatable."
)
@click.option("-i", "--initiator", metavar="USER", help="Only those that this user asked for (name, id or me).")
@list_options(COLUMNS)
@click.pass_obj
def list_jobs(
    settings: Settings,
    org: str,
    limit: int,
    status: tuple[str, ...],
    tags: tuple[str, ...],
    type_: tuple[str, ...],
    initiator: str | None,
    listing: Listing[ProvisionerJob],
) -> None:
    """List jobs, newest first."""
    wanted = parse_pairs(tags, "--tag")
    client = settings.client()
    found = api.list_jobs(
        client,
        choose_organization(client, org),
        limit,
        statuses=status,
        tags=wanted,
        types=type_,
        initiator=initiator,
    )
    is_filtered = bool(status or wanted or type_ or initiator)
    listing.show(found, lambda: msgspec.json.encode(found), "No such jobs." if is_filtered else "No jobs.")


@jobs.command("cancel")
@click.argument("job_id", type=click.UUID)
@organization_option
@click.pass_obj
def cancel(settings: Settings, job_id: UUID, org: str) -> None:
    """Ask a job that waits or runs to stop."""
    client = settings.client()
    try:
        job = api.get_job(client, choose_organization(client, org), job_id)
    except NotFound:
        raise CommandFailed(f"There is no job {job_id}. See: devyard provisioner jobs list") from None
    if job.status not in ("pending", "running"):
        raise CommandFailed(f"The job can't be canceled: it is {job.status}.")
    api.cancel_job(client, job)
    if job.status == "pending":
        note(f"Job {job_id} is canceled.")
    else:
        note(f"Job {job_id} is being canceled: Terraform is interrupted, and ended if it does not stop.")


jobs.add_aliases({"ls": "list"})
