"""Organizations, their members, and their provisioners over a `Client`."""

from devyard.sdk.client import Client, segment
from devyard.wire.identity import Organization, OrganizationMember, SSHConfigResponse
from devyard.wire.jobs import ProvisionerDaemon, ProvisionerJob


def list_organizations(client: Client, user: str = "me") -> list[Organization]:
    """The organizations that a user is in."""
    return client.get(f"/users/{segment(user)}/organizations", list[Organization])


def list_members(client: Client, organization: str) -> list[OrganizationMember]:
    """An organization's members with their roles."""
    return client.get(f"/organizations/{segment(organization)}/members", list[OrganizationMember])


def list_daemons(client: Client, organization: str, limit: int) -> list[ProvisionerDaemon]:
    """Provisioner processes, connected now or seen lately."""
    path = f"/organizations/{segment(organization)}/provisionerdaemons"
    return client.get(path, list[ProvisionerDaemon], limit=limit)


def list_jobs(client: Client, organization: str, limit: int, status: str | None) -> list[ProvisionerJob]:
    """Provisioner jobs, newest first; `status` is a comma list."""
    path = f"/organizations/{segment(organization)}/provisionerjobs"
    return client.get(path, list[ProvisionerJob], limit=limit, status=status)


def get_ssh_config(client: Client) -> SSHConfigResponse:
    """How the deployment names workspaces as SSH hosts."""
    return client.get("/deployment/ssh", SSHConfigResponse)
