"""Finds the organization that a path names: an id, a name, or `default`. What one may not see is not there."""

from devyard.server.access.rules import Actor, check
from devyard.server.db.pool import Executor
from devyard.server.http.ids import read_id
from devyard.server.organizations import queries
from devyard.server.organizations.queries import OrganizationRow
from devyard.wire.errors import NotFound


async def load_organization(executor: Executor, actor: Actor, text: str) -> OrganizationRow:
    """The organization whom `text` names, for an actor who may read it.

    Raises:
        NotFound: none, or none that the actor may see.
    """
    row = await find_organization(executor, text)
    if row is None:
        raise NotFound
    check(actor, "organization:read", organization_id=row.id)
    return row


async def find_organization(executor: Executor, text: str) -> OrganizationRow | None:
    """The same without asking who wants to know; for provisioners, which sign in with keys."""
    if organization_id := read_id(text):
        return await queries.get_organization(executor, organization_id)
    return await queries.get_organization_by_name(executor, text[:256])
