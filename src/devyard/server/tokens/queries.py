"""SQL of sessions and tokens."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.enums import APIKeyScope, LoginType, UserStatus


class SignedInRow(msgspec.Struct, frozen=True):
    """A key with its user, as signing in needs them."""

    key_id: str
    secret_hash: bytes
    token_name: str
    login_type: LoginType
    scope: APIKeyScope
    lifetime_s: int
    expires_at: datetime
    last_used_at: datetime
    user_id: UUID
    username: str
    status: UserStatus
    site_roles: Sequence[str]
    organization_ids: Sequence[UUID]


class KeyRow(msgspec.Struct, frozen=True):
    """A session or token without its secret."""

    id: str
    user_id: UUID
    username: str
    login_type: LoginType
    scope: APIKeyScope
    token_name: str
    lifetime_s: int
    expires_at: datetime
    last_used_at: datetime
    created_at: datetime
    updated_at: datetime


_KEY_COLUMNS = """k.id, k.user_id, u.username, k.login_type, k.scope, k.token_name, k.lifetime_s, k.expires_at,
               k.last_used_at, k.created_at, k.updated_at"""


async def get_signed_in(executor: Executor, key_id: str) -> SignedInRow | None:
    """A key, its user and the user's organizations: all that a request needs, in one statement."""
    record = await executor.fetchrow(
        """-- tokens.get_signed_in
        SELECT k.id AS key_id, k.secret_hash, k.token_name, k.login_type, k.scope, k.lifetime_s, k.expires_at,
               k.last_used_at, u.id AS user_id, u.username, u.status, u.site_roles,
               ARRAY(SELECT organization_id FROM organization_members m WHERE m.user_id = u.id) AS organization_ids
        FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.id = $1 AND u.deleted_at IS NULL
        """,
        key_id,
    )
    return SignedInRow(**record) if record else None


async def insert_key(
    connection: Connection,
    *,
    key_id: str,
    user_id: UUID,
    secret_hash: bytes,
    login_type: LoginType,
    scope: str,
    token_name: str,
    lifetime_s: int,
    expires_at: datetime,
    ip: str,
    workspace_build_id: UUID | None,
) -> None:
    """A new session or token."""
    await connection.execute(
        """-- tokens.insert_key
        INSERT INTO api_keys (id, user_id, secret_hash, login_type, scope, token_name, lifetime_s, expires_at, ip,
                              workspace_build_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        key_id,
        user_id,
        secret_hash,
        login_type,
        scope,
        token_name,
        lifetime_s,
        expires_at,
        ip,
        workspace_build_id,
    )


async def get_key(executor: Executor, user_id: UUID, key_id: str) -> KeyRow | None:
    """One key of a user by id."""
    record = await executor.fetchrow(
        f"""-- tokens.get_key
        SELECT {_KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.user_id = $1 AND k.id = $2
        """,  # noqa: S608
        user_id,
        key_id,
    )
    return KeyRow(**record) if record else None


async def get_key_by_name(executor: Executor, user_id: UUID, name: str) -> KeyRow | None:
    """One named token of a user."""
    record = await executor.fetchrow(
        f"""-- tokens.get_key_by_name
        SELECT {_KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.user_id = $1 AND k.token_name = $2 AND k.token_name <> ''
        """,  # noqa: S608
        user_id,
        name,
    )
    return KeyRow(**record) if record else None


async def list_tokens(
    executor: Executor, user_id: UUID | None, *, with_expired: bool, now: datetime
) -> list[KeyRow]:
    """Named tokens, newest first, of one user or (None) of all."""
    records = await executor.fetch(
        f"""-- tokens.list_tokens
        SELECT {_KEY_COLUMNS} FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.login_type = 'token' AND ($1::uuid IS NULL OR k.user_id = $1)
          AND ($2 OR k.expires_at > $3) AND u.deleted_at IS NULL
        ORDER BY k.created_at DESC, k.id LIMIT 1000
        """,  # noqa: S608
        user_id,
        with_expired,
        now,
    )
    return [KeyRow(**record) for record in records]


async def delete_key(connection: Connection, user_id: UUID, key_id: str) -> bool:
    """Remove a key; answers whether it was there."""
    return bool(
        await connection.fetchval(
            """-- tokens.delete_key
            DELETE FROM api_keys WHERE user_id = $1 AND id = $2 RETURNING true
            """,
            user_id,
            key_id,
        )
    )


async def delete_keys_of_user(connection: Connection, user_id: UUID, *, keep: str = "") -> None:
    """Sign a user out everywhere; `keep` is the key that stays."""
    await connection.execute(
        """-- tokens.delete_keys_of_user
        DELETE FROM api_keys WHERE user_id = $1 AND id <> $2
        """,
        user_id,
        keep,
    )


async def delete_sessions_of_user(connection: Connection, user_id: UUID, *, keep: str = "") -> None:
    """End a user's sessions, named tokens stay; `keep` is the session that stays too."""
    await connection.execute(
        """-- tokens.delete_sessions_of_user
        DELETE FROM api_keys WHERE user_id = $1 AND id <> $2 AND login_type <> 'token'
        """,
        user_id,
        keep,
    )


async def expire_key(connection: Connection, user_id: UUID, key_id: str, now: datetime) -> bool:
    """End a key now; answers whether it was there."""
    return bool(
        await connection.fetchval(
            """-- tokens.expire_key
            UPDATE api_keys SET expires_at = least(expires_at, $3), updated_at = $3
            WHERE user_id = $1 AND id = $2 RETURNING true
            """,
            user_id,
            key_id,
            now,
        )
    )


async def update_last_used(
    executor: Executor,
    key_ids: Sequence[str],
    used_at: Sequence[datetime],
    expires_at: Sequence[datetime | None],
) -> None:
    """Record the uses of many keys, and of their users, at once."""
    await executor.execute(
        """-- tokens.update_last_used
        WITH uses AS (
            SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS t (id, used_at, expires_at)
        ), keys AS (
            UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, uses.used_at),
                                  expires_at = CASE WHEN k.expires_at < uses.used_at THEN k.expires_at
                                                    ELSE greatest(k.expires_at, uses.expires_at) END
            FROM uses WHERE k.id = uses.id
            RETURNING k.user_id, uses.used_at
        )
        UPDATE users u SET last_seen_at = greatest(u.last_seen_at, seen.used_at)
        FROM (SELECT user_id, max(used_at) AS used_at FROM keys GROUP BY user_id) seen
        WHERE u.id = seen.user_id
        """,
        list(key_ids),
        list(used_at),
        list(expires_at),
    )
