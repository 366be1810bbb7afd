"""Writes on sessions and tokens. Each function that takes a connection runs inside the caller's transaction."""

from datetime import datetime, timedelta
from uuid import UUID

from devyard.server.access.rules import Actor
from devyard.server.audit.actions import record
from devyard.server.db.pool import Connection, transaction
from devyard.server.names import check_name
from devyard.server.services import Services
from devyard.server.tokens import queries, rules
from devyard.server.users.queries import UserRow
from devyard.wire.enums import LoginType
from devyard.wire.errors import Invalid, NotFound, ValidationError
from devyard.wire.identity import CreateTokenRequest


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


async def create_session(services: Services, actor: Actor, user: UserRow) -> str:
    """A new session of a user, for a program that acts for the user for a while."""
    async with transaction(services.pool) as connection:
        token = await make_key(
            connection,
            user_id=user.id,
            login_type=user.login_type,
            lifetime=services.settings.session_duration,
            now=services.now(),
            ip=actor.request.ip,
        )
        await record(connection, actor, "create", "api_key", user.id, target=user.username)
    return str(token)


async def create_token(services: Services, actor: Actor, user: UserRow, request: CreateTokenRequest) -> str:
    """A named token.

    Raises:
        Invalid: name, scope or lifetime. Conflict: the user has a token of this name.
    """
    name = request.token_name or f"token-{rules.make_token().id[:6].lower()}"
    lifetime = rules.decide_lifetime(request.lifetime, services.settings.max_token_lifetime)
    problems = check_name("token_name", name, max_chars=64)
    if request.scope not in ("", "all", "application_connect"):
        problems.append(ValidationError("scope", "Must be all or application_connect."))
    if problems:
        raise Invalid("The token was refused.", validations=problems)
    async with transaction(services.pool) as connection:
        token = await make_key(
            connection,
            user_id=user.id,
            login_type="token",
            lifetime=lifetime,
            now=services.now(),
            token_name=name,
            scope=request.scope or "all",
            ip=actor.request.ip,
        )
        await record(
            connection,
            actor,
            "create",
            "api_key",
            user.id,
            target=name,
            after={"token_name": name, "scope": request.scope or "all", "lifetime_s": lifetime.total_seconds()},
        )
    return str(token)


async def delete_token(services: Services, actor: Actor, user: UserRow, key_id: str) -> None:
    """Remove a session or token for good."""
    async with transaction(services.pool) as connection:
        if not await queries.delete_key(connection, user.id, key_id):
            raise NotFound
        await record(connection, actor, "delete", "api_key", user.id, target=key_id)


async def expire_token(services: Services, actor: Actor, user: UserRow, key_id: str) -> None:
    """End a session or token now and keep its row until the retention takes it."""
    async with transaction(services.pool) as connection:
        if not await queries.expire_key(connection, user.id, key_id, services.now()):
            raise NotFound
        await record(connection, actor, "write", "api_key", user.id, target=key_id, after={"expired": True})
