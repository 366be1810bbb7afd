"""Users as the API shows them."""

from collections.abc import Sequence

from devyard.server.users.queries import UserRow
from devyard.server.users.rules import SITE_ROLES
from devyard.wire.identity import MinimalUser, SlimRole, User


def user_view(row: UserRow) -> User:
    """A user with all that administrators and the user may see."""
    return User(
        id=row.id,
        username=row.username,
        name=row.name,
        avatar_url=row.avatar_url,
        email=row.email,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_seen_at=row.last_seen_at,
        status=row.status,
        login_type=row.login_type,
        organization_ids=list(row.organization_ids),
        roles=roles_view(row.site_roles),
    )


def minimal_view(row: UserRow) -> MinimalUser:
    """Who did something."""
    return MinimalUser(id=row.id, username=row.username, name=row.name, avatar_url=row.avatar_url)


def roles_view(roles: Sequence[str]) -> list[SlimRole]:
    """Roles with the names that people see."""
    return [SlimRole(name=role, display_name=SITE_ROLES.get(role, role)) for role in roles]
