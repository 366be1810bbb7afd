"""Who is asking: from the token of a request to an `Actor`, with one query and no write.

Called by the guard. Uses of a token are buffered in `KeyUses` and written every few seconds by one statement.
A suspended user, an ended session and a wrong secret are told apart only where that gives nothing away.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import asyncpg
import structlog
from litestar.connection import ASGIConnection

from devyard.server.access.rules import Actor, RequestInfo
from devyard.server.tokens import queries, rules
from devyard.wire.errors import Unauthenticated

log = structlog.get_logger("signin")

HEADERS = ("coder-session-token", "devyard-session-token")
COOKIE = "coder_session_token"
MAX_TOKEN_CHARS = 256
MAX_BUFFERED_USES = 100_000

SIGNED_OUT = "You are signed out or your session has expired. Please sign in again to continue."

AnyConnection = ASGIConnection[Any, Any, Any, Any]


class Presented(NamedTuple):
    """A token's text and how it came; a cookie alone is sent by browsers unasked, so only it can be forged."""

    text: str
    by: Literal["header", "cookie", "query"]


def read_presented(connection: AnyConnection) -> Presented | None:
    """The token of a request: header, then bearer, then cookie, then (websockets only) the query."""
    headers = connection.headers
    for name in HEADERS:
        if text := headers.get(name):
            return Presented(text[:MAX_TOKEN_CHARS], "header")
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer:
        return Presented(bearer.strip()[:MAX_TOKEN_CHARS], "header")
    if text := connection.cookies.get(COOKIE):
        return Presented(text[:MAX_TOKEN_CHARS], "cookie")
    if _is_websocket(connection) and (text := connection.query_params.get(COOKIE)):
        return Presented(text[:MAX_TOKEN_CHARS], "query")
    return None


def _is_websocket(connection: AnyConnection) -> bool:
    scope: Any = connection.scope
    return bool(scope["type"] == "websocket")


class KeyUses:
    """Uses of keys that are not in the database yet. Bounded; what does not fit is not recorded."""

    def __init__(self) -> None:
        self._uses: dict[str, tuple[datetime, datetime | None]] = {}

    def add(self, key_id: str, used_at: datetime, expires_at: datetime | None) -> None:
        """Remember one use; the latest counts."""
        if key_id in self._uses or len(self._uses) < MAX_BUFFERED_USES:
            self._uses[key_id] = (used_at, expires_at)

    async def flush(self, pool: asyncpg.Pool) -> None:
        """Write what has gathered, by one statement."""
        if not self._uses:
            return
        uses, self._uses = self._uses, {}
        ids = sorted(uses)
        await queries.update_last_used(pool, ids, [uses[i][0] for i in ids], [uses[i][1] for i in ids])


async def sign_in(
    pool: asyncpg.Pool, uses: KeyUses, presented: Presented | None, info: RequestInfo, now: datetime
) -> Actor:
    """The actor of a token.

    Raises:
        Unauthenticated: no token, an unknown or ended one, or its user is suspended.
    """
    token = rules.parse_token(presented.text) if presented else None
    row = await queries.get_signed_in(pool, token.id) if token else None
    if token is None or row is None or not rules.is_secret(token.secret, row.secret_hash):
        raise Unauthenticated(SIGNED_OUT)
    if row.expires_at <= now:
        raise Unauthenticated(SIGNED_OUT, detail=f"The token ended at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC.")
    if row.status == "suspended":
        raise Unauthenticated("This account is suspended. Ask an administrator to activate it.")
    if now - row.last_used_at >= rules.TOUCH_AFTER:
        longer = rules.decide_expiry(
            is_session=row.login_type != "token",
            expires_at=row.expires_at,
            lifetime=timedelta(seconds=row.lifetime_s),
            now=now,
        )
        uses.add(row.key_id, now, longer)
    return Actor(
        user_id=row.user_id,
        username=row.username,
        site_roles=tuple(row.site_roles),
        organization_ids=tuple(row.organization_ids),
        api_key_id=row.key_id,
        scope=row.scope,
        request=info,
    )
