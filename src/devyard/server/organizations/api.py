"""Routes of organizations and their members."""

from typing import Any
from uuid import UUID

from litestar import get

from devyard.server.access.rules import Actor, decide_reach
from devyard.server.http.guard import needs
from devyard.server.http.paging import Page, read_page
from devyard.server.organizations import queries
from devyard.server.organizations.lookup import load_organization
from devyard.server.organizations.queries import MemberRow, OrganizationRow
from devyard.server.services import Services
from devyard.server.users.lookup import load_user
from devyard.server.users.views import roles_view
from devyard.wire.errors import NotFound
from devyard.wire.identity import AssignableRole, MembersPage, Organization, OrganizationMember


@get("/organizations", opt=needs("organization:read"))
async def list_organizations(actor: Actor, services: Services) -> list[Organization]:
    """The organizations that the caller may see."""
    is_all = decide_reach(actor, "organization:read") == "site"
    rows = await queries.list_organizations(services.pool, None if is_all else actor.organization_ids)
    return [organization_view(row) for row in rows]


@get("/organizations/{organization:str}", opt=needs("organization:read"))
async def get_organization(actor: Actor, services: Services, organization: str) -> Organization:
    """One organization by id, name or `default`."""
    return organization_view(await load_organization(services.pool, actor, organization))


@get("/organizations/{organization:str}/members", opt=needs("organization_member:read"))
async def list_members(actor: Actor, services: Services, organization: str) -> list[OrganizationMember]:
    """The members whom the caller may see."""
    return (await _list_page(actor, services, organization, read_page())).members


@get("/organizations/{organization:str}/paginated-members", opt=needs("organization_member:read"))
async def list_members_page(
    actor: Actor, services: Services, organization: str, limit: int = 0, offset: int = 0
) -> MembersPage:
    """A page of members, with the count over all pages."""
    return await _list_page(actor, services, organization, read_page(limit, offset))


@get("/organizations/{organization:str}/members/roles", opt=needs("organization:read"))
async def list_member_roles(actor: Actor, services: Services, organization: str) -> list[AssignableRole]:
    """Roles within an organization; there are none besides being a member."""
    await load_organization(services.pool, actor, organization)
    return []


@get("/organizations/{organization:str}/members/{user:str}", opt=needs("organization_member:read"))
async def get_member(actor: Actor, services: Services, organization: str, user: str) -> OrganizationMember:
    """One member."""
    row = await load_organization(services.pool, actor, organization)
    found = await load_user(services.pool, actor, user, "organization_member:read")
    members = await queries.list_members(services.pool, row.id, found.id, 1, 0)
    if not members:
        raise NotFound
    return member_view(members[0])


@get("/users/{user:str}/organizations", opt=needs("user:read"))
async def list_organizations_of_user(actor: Actor, services: Services, user: str) -> list[Organization]:
    """The organizations that a user is in."""
    row = await load_user(services.pool, actor, user)
    rows = await queries.list_organizations(services.pool, row.organization_ids)
    return [organization_view(organization) for organization in rows]


@get("/users/{user:str}/organizations/{organization:str}", opt=needs("user:read"))
async def get_organization_of_user(actor: Actor, services: Services, user: str, organization: str) -> Organization:
    """One of the organizations that a user is in."""
    row = await load_user(services.pool, actor, user)
    found = await load_organization(services.pool, actor, organization)
    if found.id not in row.organization_ids:
        raise NotFound
    return organization_view(found)


def organization_view(row: OrganizationRow) -> Organization:
    """An organization as the API shows it."""
    return Organization(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        icon=row.icon,
        description=row.description,
        created_at=row.created_at,
        updated_at=row.updated_at,
        is_default=row.is_default,
    )


def member_view(row: MemberRow) -> OrganizationMember:
    """A member as the API shows it."""
    return OrganizationMember(
        user_id=row.user_id,
        organization_id=row.organization_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        roles=roles_view(row.roles),
        username=row.username,
        name=row.name,
        avatar_url=row.avatar_url,
        email=row.email,
        global_roles=roles_view(row.site_roles),
    )


async def _list_page(actor: Actor, services: Services, organization: str, page: Page) -> MembersPage:
    row = await load_organization(services.pool, actor, organization)
    is_all = decide_reach(actor, "organization_member:read") == "site"
    only_id: UUID | None = None if is_all else actor.user_id
    members = await queries.list_members(services.pool, row.id, only_id, page.limit, page.offset)
    count = await queries.count_members(services.pool, row.id, only_id)
    return MembersPage([member_view(member) for member in members], count)


routes: list[Any] = [
    list_organizations,
    get_organization,
    list_members,
    list_members_page,
    list_member_roles,
    get_member,
    list_organizations_of_user,
    get_organization_of_user,
]
