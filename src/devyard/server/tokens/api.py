"""Routes of sessions and named tokens, under the user whose they are."""

from typing import Any

from litestar import delete, get, post, put

from devyard.server.access.rules import Actor, decide_reach
from devyard.server.http.guard import needs
from devyard.server.services import Services
from devyard.server.tokens import actions, queries
from devyard.server.tokens.queries import KeyRow
from devyard.server.users.lookup import load_user
from devyard.wire.errors import NotFound
from devyard.wire.identity import APIKey, CreateTokenRequest, GenerateAPIKeyResponse, TokenConfig


@post("/users/{user:str}/keys", opt=needs("api_key:create"))
async def create_session(actor: Actor, services: Services, user: str) -> GenerateAPIKeyResponse:
    """A further session of the user."""
    row = await load_user(services.pool, actor, user, "api_key:create")
    return GenerateAPIKeyResponse(await actions.create_session(services, actor, row))


@get("/users/{user:str}/keys/tokens", opt=needs("api_key:read"))
async def list_tokens(
    actor: Actor, services: Services, user: str, include_all: bool = False, include_expired: bool = False
) -> list[APIKey]:
    """Named tokens of the user, or of all users for those who may see them."""
    row = await load_user(services.pool, actor, user, "api_key:read")
    of_all = include_all and decide_reach(actor, "api_key:read") == "site"
    keys = await queries.list_tokens(
        services.pool, None if of_all else row.id, with_expired=include_expired, now=services.now()
    )
    return [key_view(key, with_owner=True) for key in keys]


@post("/users/{user:str}/keys/tokens", opt=needs("api_key:create"))
async def create_token(
    actor: Actor, services: Services, user: str, data: CreateTokenRequest
) -> GenerateAPIKeyResponse:
    """A named token; its text is in this answer and nowhere else."""
    row = await load_user(services.pool, actor, user, "api_key:create")
    return GenerateAPIKeyResponse(await actions.create_token(services, actor, row, data))


@get("/users/{user:str}/keys/tokens/tokenconfig", opt=needs("api_key:read"))
async def get_token_config(actor: Actor, services: Services, user: str) -> TokenConfig:
    """How long a token may live."""
    await load_user(services.pool, actor, user, "api_key:read")
    return TokenConfig(int(services.settings.max_token_lifetime.total_seconds()) * 10**9)


@get("/users/{user:str}/keys/tokens/{name:str}", opt=needs("api_key:read"))
async def get_token(actor: Actor, services: Services, user: str, name: str) -> APIKey:
    """A named token."""
    row = await load_user(services.pool, actor, user, "api_key:read")
    return key_view(_present(await queries.get_key_by_name(services.pool, row.id, name)))


@get("/users/{user:str}/keys/{key_id:str}", opt=needs("api_key:read"))
async def get_key(actor: Actor, services: Services, user: str, key_id: str) -> APIKey:
    """A session or token by id."""
    row = await load_user(services.pool, actor, user, "api_key:read")
    return key_view(_present(await queries.get_key(services.pool, row.id, key_id)))


@delete("/users/{user:str}/keys/{key_id:str}", opt=needs("api_key:delete"))
async def delete_key(actor: Actor, services: Services, user: str, key_id: str) -> None:
    """Remove a session or token."""
    row = await load_user(services.pool, actor, user, "api_key:delete")
    await actions.delete_token(services, actor, row, key_id)


@put("/users/{user:str}/keys/{key_id:str}/expire", opt=needs("api_key:update"), status_code=204)
async def expire_key(actor: Actor, services: Services, user: str, key_id: str) -> None:
    """End a session or token now."""
    row = await load_user(services.pool, actor, user, "api_key:update")
    await actions.expire_token(services, actor, row, key_id)


def key_view(row: KeyRow, *, with_owner: bool = False) -> APIKey:
    """A key as the API shows it."""
    view = APIKey(
        id=row.id,
        user_id=row.user_id,
        last_used=row.last_used_at,
        expires_at=row.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        login_type=row.login_type,
        scope=row.scope,
        token_name=row.token_name,
        lifetime_seconds=row.lifetime_s,
    )
    if with_owner:
        view.username = row.username
    return view


def _present(row: KeyRow | None) -> KeyRow:
    if row is None:
        raise NotFound
    return row


routes: list[Any] = [
    create_session,
    list_tokens,
    create_token,
    get_token_config,
    get_token,
    get_key,
    delete_key,
    expire_key,
]
