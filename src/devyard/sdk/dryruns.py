"""Dry runs of a template version over a `Client`: a plan with given values, nothing is made."""

from uuid import UUID

from devyard.sdk.client import Client
from devyard.wire.jobs import MatchedProvisioners, ProvisionerJob
from devyard.wire.templates import DryRunRequest
from devyard.wire.workspaces import WorkspaceResource


def create_dry_run(client: Client, version_id: UUID, request: DryRunRequest) -> ProvisionerJob:
    """A dry run; it has been queued. Raises Invalid, PreconditionFailed."""
    return client.send("POST", f"/templateversions/{version_id}/dry-run", request, ProvisionerJob)


def get_dry_run(client: Client, version_id: UUID, job_id: UUID) -> ProvisionerJob:
    """A dry run's job. Raises NotFound."""
    return client.get(f"/templateversions/{version_id}/dry-run/{job_id}", ProvisionerJob)


def list_resources(client: Client, version_id: UUID, job_id: UUID) -> list[WorkspaceResource]:
    """What the plan would make. Raises PreconditionFailed before the job has succeeded."""
    return client.get(f"/templateversions/{version_id}/dry-run/{job_id}/resources", list[WorkspaceResource])


def get_matched(client: Client, version_id: UUID, job_id: UUID) -> MatchedProvisioners:
    """The provisioners that could take the dry run."""
    path = f"/templateversions/{version_id}/dry-run/{job_id}/matched-provisioners"
    return client.get(path, MatchedProvisioners)
