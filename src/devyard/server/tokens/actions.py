"""Writes on sessions and tokens. Each function that takes a connection runs inside the caller's transaction."""

from datetime import datetime, timedelta
from uuid import UUID

from devyard.server.db.pool import Connection
from devyard.server.tokens import queries, rules
from devyard.wire.enums import LoginType


async def make_key(
    connection: Connection,
    *,
    user_id: UUID,
    login_type: LoginType,
    lifetime: timedelta,
    now: datetime,
    token_name: str = "",
    scope: str = "all",
    ip: str = "",
    workspace_build_id: UUID | None = None,
) -> rules.TokenText:
    """A new session or token; its text exists only in the answer. The caller writes the audit row."""
    token = rules.make_token()
    await queries.insert_key(
        connection,
        key_id=token.id,
        user_id=user_id,
        secret_hash=rules.hash_secret(token.secret),
        login_type=login_type,
        scope=scope,
        token_name=token_name,
        lifetime_s=int(lifetime.total_seconds()),
        expires_at=now + lifetime,
        ip=ip,
        workspace_build_id=workspace_build_id,
    )
    return token
