"""SQL of users. `UserRow` is what other subjects are given."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor, keyring_of
from devyard.server.encryption.places import GIT_KEY
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
        keyring_of(connection).seal_text(GIT_KEY, user_id, git_private_key),
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


async def has_users(executor: Executor) -> bool:
    """Whether anybody was ever made."""
    return bool(
        await executor.fetchval(
            """-- users.has_users
            SELECT EXISTS (SELECT FROM users)
            """
        )
    )


async def lock_first_user(connection: Connection) -> None:
    """Held until the transaction ends, so that there is one first user."""
    await connection.execute(
        """-- users.lock_first_user
        SELECT pg_advisory_xact_lock(hashtextextended('devyard:first-user', 0))
        """
    )


async def get_user(executor: Executor, user_id: UUID) -> UserRow | None:
    """A user by id."""
    record = await executor.fetchrow(
        f"""-- users.get_user
        SELECT {USER_COLUMNS} FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL
        """,  # noqa: S608  (constant column names, here and below)
        user_id,
    )
    return UserRow(**record) if record else None


async def get_user_by_name(executor: Executor, username: str) -> UserRow | None:
    """A user by user name, whatever its case."""
    record = await executor.fetchrow(
        f"""-- users.get_user_by_name
        SELECT {USER_COLUMNS} FROM users u WHERE lower(u.username) = lower($1) AND u.deleted_at IS NULL
        """,  # noqa: S608
        username,
    )
    return UserRow(**record) if record else None


async def get_user_by_email(executor: Executor, email: str) -> tuple[UserRow, str] | None:
    """A user by e-mail address, with the password's hash."""
    record = await executor.fetchrow(
        f"""-- users.get_user_by_email
        SELECT u.password_hash, {USER_COLUMNS} FROM users u
        WHERE lower(u.email) = lower($1) AND u.deleted_at IS NULL
        """,  # noqa: S608
        email,
    )
    if record is None:
        return None
    values = dict(record)
    password_hash = values.pop("password_hash")
    return UserRow(**values), password_hash


async def get_password_hash(executor: Executor, user_id: UUID) -> str:
    """A user's password hash, empty where there is none."""
    found: str | None = await executor.fetchval(
        """-- users.get_password_hash
        SELECT password_hash FROM users WHERE id = $1 AND deleted_at IS NULL
        """,
        user_id,
    )
    return found or ""


async def update_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Set a password's hash."""
    await connection.execute(
        """-- users.update_password
        UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1
        """,
        user_id,
        password_hash,
    )


async def update_profile(connection: Connection, user_id: UUID, username: str, name: str) -> None:
    """Set user name and full name."""
    await connection.execute(
        """-- users.update_profile
        UPDATE users SET username = $2, name = $3, updated_at = now() WHERE id = $1
        """,
        user_id,
        username,
        name,
    )


async def update_status(connection: Connection, user_id: UUID, status: UserStatus) -> None:
    """Set a user's status."""
    await connection.execute(
        """-- users.update_status
        UPDATE users SET status = $2, updated_at = now() WHERE id = $1
        """,
        user_id,
        status,
    )


async def update_roles(connection: Connection, user_id: UUID, roles: Sequence[str]) -> None:
    """Set a user's roles in the deployment."""
    await connection.execute(
        """-- users.update_roles
        UPDATE users SET site_roles = $2, updated_at = now() WHERE id = $1
        """,
        user_id,
        list(roles),
    )


async def lock_owners(connection: Connection) -> list[UUID]:
    """The active owners, locked until the transaction ends, so that two can't leave at once."""
    records = await connection.fetch(
        """-- users.lock_owners
        SELECT id FROM users
        WHERE 'owner' = ANY(site_roles) AND status <> 'suspended' AND deleted_at IS NULL
        ORDER BY id FOR UPDATE
        """
    )
    return [record["id"] for record in records]


async def count_workspaces(executor: Executor, user_id: UUID) -> int:
    """How many workspaces a user owns."""
    count: int = await executor.fetchval(
        """-- users.count_workspaces
        SELECT count(*) FROM workspaces WHERE owner_id = $1 AND deleted_at IS NULL
        """,
        user_id,
    )
    return count


async def delete_user(connection: Connection, user_id: UUID) -> None:
    """Mark a user as deleted; what the user did keeps its name."""
    await connection.execute(
        """-- users.delete_user
        UPDATE users SET deleted_at = now(), updated_at = now(), password_hash = '', git_private_key = ''
        WHERE id = $1
        """,
        user_id,
    )


async def delete_memberships(connection: Connection, user_id: UUID) -> None:
    """Take a user out of every organization."""
    await connection.execute(
        """-- users.delete_memberships
        DELETE FROM organization_members WHERE user_id = $1
        """,
        user_id,
    )


class GitKeyRow(msgspec.Struct, frozen=True):
    """A user's git key; the private half goes to the user's own workspaces only."""

    user_id: UUID
    public_key: str
    private_key: str
    created_at: datetime
    updated_at: datetime


async def get_git_key(executor: Executor, user_id: UUID) -> GitKeyRow | None:
    """A user's git key."""
    record = await executor.fetchrow(
        """-- users.get_git_key
        SELECT id AS user_id, git_public_key AS public_key, git_private_key AS private_key, created_at,
               coalesce(git_key_updated_at, created_at) AS updated_at
        FROM users WHERE id = $1 AND deleted_at IS NULL
        """,
        user_id,
    )
    if record is None:
        return None
    private_key = keyring_of(executor).open_text(GIT_KEY, user_id, record["private_key"])
    return GitKeyRow(**{**record, "private_key": private_key})


async def update_git_key(connection: Connection, user_id: UUID, public_key: str, private_key: str) -> None:
    """Replace a user's git key."""
    await connection.execute(
        """-- users.update_git_key
        UPDATE users SET git_public_key = $2, git_private_key = $3, git_key_updated_at = now() WHERE id = $1
        """,
        user_id,
        public_key,
        keyring_of(connection).seal_text(GIT_KEY, user_id, private_key),
    )
