"""SQL of users. `UserRow` is what other subjects are given."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.enums import LoginType, UserStatus


class UserRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `users` with its organizations; the password's hash and the private key are not in it."""

    id: UUID
    email: str
    username: str
    name: str
    avatar_url: str
    login_type: LoginType
    status: UserStatus
    site_roles: Sequence[str]
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime
    organization_ids: Sequence[UUID]


USER_COLUMNS = """u.id, u.email, u.username, u.name, u.avatar_url, u.login_type, u.status, u.site_roles,
               u.created_at, u.updated_at, u.last_seen_at,
               ARRAY(SELECT m.organization_id FROM organization_members m WHERE m.user_id = u.id
                     ORDER BY m.created_at, m.organization_id) AS organization_ids"""


async def insert_user(
    connection: Connection,
    *,
    user_id: UUID,
    email: str,
    username: str,
    name: str,
    password_hash: str,
    login_type: LoginType,
    status: UserStatus,
    site_roles: Sequence[str],
    git_public_key: str,
    git_private_key: str,
) -> None:
    """A new user."""
    await connection.execute(
        """-- users.insert_user
        INSERT INTO users (id, email, username, name, password_hash, login_type, status, site_roles,
                           git_public_key, git_private_key, git_key_updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now())
        """,
        user_id,
        email,
        username,
        name,
        password_hash,
        login_type,
        status,
        list(site_roles),
        git_public_key,
        git_private_key,
    )


async def insert_member(connection: Connection, organization_id: UUID, user_id: UUID) -> None:
    """Put a user into an organization; does nothing where the user is in it."""
    await connection.execute(
        """-- users.insert_member
        INSERT INTO organization_members (organization_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING
        """,
        organization_id,
        user_id,
    )
