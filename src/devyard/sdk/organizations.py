"""Organizations, and their members over a `Client`."""

from devyard.sdk.client import Client, segment
from devyard.wire.identity import Organization, OrganizationMember, SSHConfigResponse


def list_organizations(client: Client, user: str = "me") -> list[Organization]:
    """The organizations that a user is in."""
    return client.get(f"/users/{segment(user)}/organizations", list[Organization])


def list_members(client: Client, organization: str) -> list[OrganizationMember]:
    """An organization's members with their roles."""
    return client.get(f"/organizations/{segment(organization)}/members", list[OrganizationMember])


def get_ssh_config(client: Client) -> SSHConfigResponse:
    """How the deployment names workspaces as SSH hosts."""
    return client.get("/deployment/ssh", SSHConfigResponse)
