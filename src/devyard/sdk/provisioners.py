"""Provisioners, their keys and their jobs over a `Client`. `organization` is an id, a name or `default`."""

from collections.abc import Mapping
from uuid import UUID

from devyard.sdk import builds
from devyard.sdk.client import Client, segment
from devyard.wire.jobs import (
    CreateProvisionerKeyRequest,
    CreateProvisionerKeyResponse,
    ProvisionerDaemon,
    ProvisionerJob,
    ProvisionerKey,
    ProvisionerKeyDaemons,
)


def list_daemons(
    client: Client,
    organization: str,
    limit: int,
    *,
    status: str | None = None,
    is_offline_shown: bool = True,
    max_age: str | None = None,
) -> list[ProvisionerDaemon]:
    """Provisioner processes, connected now or seen lately; `status` is a comma list, `max_age` as `15m`."""
    path = f"/organizations/{segment(organization)}/provisionerdaemons"
    offline = None if is_offline_shown else False
    return client.get(path, list[ProvisionerDaemon], limit=limit, status=status, offline=offline, max_age=max_age)


def list_jobs(
    client: Client,
    organization: str,
    limit: int,
    status: str | None,
    *,
    type: str | None = None,
    initiator: str | None = None,
) -> list[ProvisionerJob]:
    """Provisioner jobs, newest first; `status` and `type` are comma lists, `initiator` is a user."""
    path = f"/organizations/{segment(organization)}/provisionerjobs"
    return client.get(path, list[ProvisionerJob], limit=limit, status=status, type=type, initiator=initiator)


def get_job(client: Client, organization: str, job_id: UUID) -> ProvisionerJob:
    """A job by id. Raises NotFound."""
    return client.get(f"/organizations/{segment(organization)}/provisionerjobs/{job_id}", ProvisionerJob)


def cancel_job(client: Client, job: ProvisionerJob) -> None:
    """Asks a job to stop, by what it is about: a build, an import or a dry run. Raises Forbidden, Conflict."""
    if isinstance(job.input.workspace_build_id, UUID):
        builds.cancel_build(client, job.input.workspace_build_id)
    elif job.type == "template_version_dry_run":
        client.do("PATCH", f"/templateversions/{job.input.template_version_id}/dry-run/{job.id}/cancel")
    else:
        client.do("PATCH", f"/templateversions/{job.input.template_version_id}/cancel")


def list_keys(client: Client, organization: str) -> list[ProvisionerKey]:
    """The keys with which provisioners sign in."""
    return client.get(f"/organizations/{segment(organization)}/provisionerkeys", list[ProvisionerKey])


def list_key_daemons(client: Client, organization: str) -> list[ProvisionerKeyDaemons]:
    """The keys, each with the provisioners that use it."""
    path = f"/organizations/{segment(organization)}/provisionerkeys/daemons"
    return client.get(path, list[ProvisionerKeyDaemons])


def create_key(client: Client, organization: str, name: str, tags: Mapping[str, str]) -> str:
    """A new key's text, which is shown only now. Raises Invalid, Conflict."""
    request = CreateProvisionerKeyRequest(name, dict(tags))
    path = f"/organizations/{segment(organization)}/provisionerkeys"
    return client.send("POST", path, request, CreateProvisionerKeyResponse).key


def delete_key(client: Client, organization: str, name: str) -> None:
    """Removes a key; provisioners that use it are cut off. Raises NotFound."""
    client.do("DELETE", f"/organizations/{segment(organization)}/provisionerkeys/{segment(name)}")
