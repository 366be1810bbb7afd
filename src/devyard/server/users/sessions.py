"""Signing in with a password and signing out; each owns its transaction and leaves an audit row."""

import structlog

from devyard.server.access.rules import Actor, RequestInfo
from devyard.server.audit.actions import record
from devyard.server.db.pool import transaction
from devyard.server.http.guard import Gate
from devyard.server.services import Services
from devyard.server.tokens.actions import make_key
from devyard.server.tokens.queries import delete_key
from devyard.server.tokens.rules import TokenText
from devyard.server.users import queries
from devyard.server.users.queries import UserRow
from devyard.wire.errors import Unauthenticated
from devyard.wire.identity import LoginRequest

log = structlog.get_logger("users.sessions")

WRONG = "Incorrect email or password."


async def log_in(gate: Gate, info: RequestInfo, request: LoginRequest) -> TokenText:
    """A session for the right e-mail address and password.

    Raises:
        Unauthenticated: wrong, or the account is suspended (said only to those who know the password).
        RateLimited: too many attempts from this address or on this account.
    """
    services, now_s = gate.services, gate.monotonic()
    gate.login_limit.check(f"ip:{info.ip}", now_s)
    gate.login_limit.check(f"account:{request.email[:254].lower()}", now_s)
    found = await queries.get_user_by_email(services.pool, request.email[:254])
    user, stored = found if found else (None, "")
    usable = stored if user is not None and user.login_type == "password" else ""
    is_right = await gate.passwords.is_right(usable, request.password[:1024])
    if user is None or not is_right or user.status == "suspended":
        log.info("a log-in was refused", ip=info.ip, user_id=str(user.id) if user else None)
        gate.refusals.add(
            info, user.id if user else None, user.username if user else "", at=services.now(), now_s=now_s
        )
        if user is None or not is_right:
            raise Unauthenticated(WRONG)
        raise Unauthenticated("Your account is suspended. Ask an administrator to activate it.")
    return await _start_session(services, info, user)


async def log_out(services: Services, actor: Actor) -> None:
    """End the session (or token) that the request came with."""
    async with transaction(services.pool) as connection:
        await delete_key(connection, actor.user_id, actor.api_key_id)
        await record(connection, actor, "logout", "api_key", actor.user_id, target=actor.username)


async def _start_session(services: Services, info: RequestInfo, user: UserRow) -> TokenText:
    async with transaction(services.pool) as connection:
        if user.status == "dormant":
            await queries.update_status(connection, user.id, "active")
        token = await make_key(
            connection,
            user_id=user.id,
            login_type="password",
            lifetime=services.settings.session_duration,
            now=services.now(),
            ip=info.ip,
        )
        actor = Actor(
            user_id=user.id,
            username=user.username,
            site_roles=tuple(user.site_roles),
            organization_ids=tuple(user.organization_ids),
            api_key_id=token.id,
            request=info,
        )
        await record(connection, actor, "login", "api_key", user.id, target=user.username)
    return token
