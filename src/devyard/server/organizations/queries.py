"""SQL of organizations and their members."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor


class OrganizationRow(msgspec.Struct, frozen=True):
    """A row of `organizations`."""

    id: UUID
    name: str
    display_name: str
    icon: str
    description: str
    created_at: datetime
    updated_at: datetime
    is_default: bool


class MemberRow(msgspec.Struct, frozen=True):
    """A member with the user's fields that lists show."""

    user_id: UUID
    organization_id: UUID
    created_at: datetime
    updated_at: datetime
    roles: Sequence[str]
    username: str
    name: str
    avatar_url: str
    email: str
    site_roles: Sequence[str]


_COLUMNS = "o.id, o.name, o.display_name, o.icon, o.description, o.created_at, o.updated_at, o.is_default"


async def get_organization(executor: Executor, organization_id: UUID) -> OrganizationRow | None:
    """An organization by id."""
    record = await executor.fetchrow(
        f"""-- organizations.get_organization
        SELECT {_COLUMNS} FROM organizations o WHERE o.id = $1
        """,  # noqa: S608  (constant column names, here and below)
        organization_id,
    )
    return OrganizationRow(**record) if record else None


async def get_organization_by_name(executor: Executor, name: str) -> OrganizationRow | None:
    """An organization by name; `default` is the default one whatever its name."""
    record = await executor.fetchrow(
        f"""-- organizations.get_organization_by_name
        SELECT {_COLUMNS} FROM organizations o
        WHERE lower(o.name) = lower($1) OR (lower($1) = 'default' AND o.is_default)
        ORDER BY lower(o.name) = lower($1) DESC LIMIT 1
        """,  # noqa: S608
        name,
    )
    return OrganizationRow(**record) if record else None


async def list_organizations(executor: Executor, only_ids: Sequence[UUID] | None) -> list[OrganizationRow]:
    """All organizations, or those of the given ids, the default one first."""
    records = await executor.fetch(
        f"""-- organizations.list_organizations
        SELECT {_COLUMNS} FROM organizations o
        WHERE $1::uuid[] IS NULL OR o.id = ANY($1)
        ORDER BY o.is_default DESC, lower(o.name) LIMIT 1000
        """,  # noqa: S608
        None if only_ids is None else list(only_ids),
    )
    return [OrganizationRow(**record) for record in records]


async def list_members(
    executor: Executor, organization_id: UUID, only_id: UUID | None, limit: int, offset: int
) -> list[MemberRow]:
    """A page of members by user name."""
    records = await executor.fetch(
        """-- organizations.list_members
        SELECT m.user_id, m.organization_id, m.created_at, m.updated_at, m.roles, u.username, u.name, u.avatar_url,
               u.email, u.site_roles
        FROM organization_members m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND u.deleted_at IS NULL AND ($2::uuid IS NULL OR m.user_id = $2)
        ORDER BY lower(u.username), u.id LIMIT $3 OFFSET $4
        """,
        organization_id,
        only_id,
        limit,
        offset,
    )
    return [MemberRow(**record) for record in records]


async def count_members(executor: Executor, organization_id: UUID, only_id: UUID | None) -> int:
    """How many members there are on all pages."""
    count: int = await executor.fetchval(
        """-- organizations.count_members
        SELECT count(*) FROM organization_members m JOIN users u ON u.id = m.user_id
        WHERE m.organization_id = $1 AND u.deleted_at IS NULL AND ($2::uuid IS NULL OR m.user_id = $2)
        """,
        organization_id,
        only_id,
    )
    return count
