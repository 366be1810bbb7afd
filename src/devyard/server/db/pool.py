"""The connection pool and the one way to run a statement.

Every query function of a subject's `queries.py` takes a `Connection` (or a pool, which behaves alike for single
statements) and runs exactly one statement whose text starts with `-- name`. Driver errors become the domain's
own at this seam, by constraint name. Only `actions` open transactions, by `transaction()`. The keys of sealed
columns belong to the connection, as the codec of JSON does: what leaves a query function is plain, what is stored
is not.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import msgspec
import structlog

from devyard.server.encryption.keyring import Keyring
from devyard.wire.errors import AppError, Conflict, Unavailable

log = structlog.get_logger("db")

Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"
Executor: TypeAlias = "Connection | asyncpg.Pool"

CONFLICTS: Mapping[str, str] = {
    "users_email_key": "A user with this e-mail address already exists.",
    "users_username_key": "A user with this user name already exists.",
    "organizations_name_key": "An organization with this name already exists.",
    "api_keys_name_key": "You already have a token with this name; remove it or choose another name.",
    "templates_name_key": "A template with this name already exists in this organization.",
    "template_versions_name_key": "The template already has a version with this name.",
    "workspaces_name_key": "You already have a workspace with this name.",
    "workspace_builds_active_key": "A build of this workspace is still under way; wait for it or cancel it.",
    "workspace_builds_number_key": "A build of this workspace was started at the same moment; try again.",
    "provisioner_keys_name_key": "A provisioner key with this name already exists.",
}


class KeyedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection of a pool that has keys; `keyring_of` finds them, through the pool's proxy too."""

    keyring: Keyring | None = None


class KeyedPool(asyncpg.Pool):  # type: ignore[misc]
    """A pool whose connections open and seal with `keyring`."""

    keyring: Keyring | None = None


async def open_pool(url: str, keyring: Keyring | None = None, *, max_size: int = 20) -> asyncpg.Pool:
    """A pool whose connections speak JSON for `json` and `jsonb` columns, and have the keys of sealed columns."""

    async def prepare(connection: KeyedConnection) -> None:
        connection.keyring = keyring
        await _prepare_connection(connection)

    pool = KeyedPool(
        url,
        connection_class=KeyedConnection,
        record_class=asyncpg.Record,
        min_size=1,
        max_size=max_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=None,
        command_timeout=30,
        init=prepare,
        reset=_keep_session,
        server_settings={"application_name": "devyard", "timezone": "UTC"},
    )
    pool.keyring = keyring
    return await pool


def keyring_of(executor: Executor) -> Keyring:
    """The keys that a query of a sealed column uses."""
    keyring: Keyring | None = executor.keyring
    if keyring is None:
        raise RuntimeError("this pool was opened without the keys of sealed columns")
    return keyring


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=_encode_json, decoder=msgspec.json.decode
        )


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Nothing to undo when a connection goes back: no statement of ours changes its session, only transactions.

    The default would ask the database to reset everything, a second round trip for each statement.
    """


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """One transaction; unique violations become `Conflict` with the sentence of the constraint."""
    try:
        async with pool.acquire() as connection, connection.transaction():
            yield connection
    except asyncpg.PostgresError as error:
        raise translate(error) from error


def translate(error: Exception) -> AppError | Exception:
    """The domain's error for a driver's error, or the error itself where it is a defect."""
    if isinstance(error, asyncpg.UniqueViolationError):
        sentence = CONFLICTS.get(error.constraint_name or "")
        if sentence:
            return Conflict(sentence)
    if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.CannotConnectNowError | ConnectionError):
        return Unavailable("The database can't be reached at the moment; try again shortly.")
    return error
