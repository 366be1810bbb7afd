"""Provisioners, their keys and their jobs over a `Client`. `organization` is an id, a name or `default`."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import msgspec

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
    statuses: Iterable[str] = (),
    tags: Mapping[str, str] | None = None,
    is_offline_shown: bool = True,
    max_age: str | None = None,
) -> list[ProvisionerDaemon]:
    """Provisioner processes with these statuses and tags, connected now or seen lately; `max_age` as `15m`."""
    path = f"/organizations/{segment(organization)}/provisionerdaemons"
    offline = None if is_offline_shown else False
    query = _filters(statuses, tags)
    return client.get(path, list[ProvisionerDaemon], limit=limit, offline=offline, max_age=max_age, **query)


def list_jobs(
    client: Client,
    organization: str,
    limit: int,
    *,
    statuses: Iterable[str] = (),
    tags: Mapping[str, str] | None = None,
    types: Iterable[str] = (),
    initiator: str | None = None,
) -> list[ProvisionerJob]:
    """Provisioner jobs with these statuses, tags and types, newest first; `initiator` is a user."""
    path = f"/organizations/{segment(organization)}/provisionerjobs"
    query = _filters(statuses, tags)
    type_ = ",".join(types) or None
    return client.get(path, list[ProvisionerJob], limit=limit, type=type_, initiator=initiator, **query)


def _filters(statuses: Iterable[str], tags: Mapping[str, str] | None) -> dict[str, str | None]:
    encoded = msgspec.json.encode(dict(tags)).decode() if tags else None
    return {"status": ",".join(statuses) or None, "tags": encoded}


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
