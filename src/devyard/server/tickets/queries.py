"""SQL of the signing keys."""

from datetime import datetime

from devyard.server.db.pool import Connection, Executor, keyring_of
from devyard.server.encryption.places import SIGNING_KEY


async def list_keys(executor: Executor, feature: str, now: datetime) -> list[tuple[str, bytes, datetime]]:
    """Living keys of a feature as (id, secret, starts_at), newest first."""
    records = await executor.fetch(
        """-- tickets.list_keys
        SELECT id, secret, starts_at FROM signing_keys
        WHERE feature = $1 AND (deletes_at IS NULL OR deletes_at > $2)
        ORDER BY starts_at DESC, id
        """,
        feature,
        now,
    )
    keyring = keyring_of(executor)
    return [(r["id"], keyring.open_bytes(SIGNING_KEY, r["id"], r["secret"]), r["starts_at"]) for r in records]


async def insert_key(
    connection: Connection, *, key_id: str, feature: str, secret: bytes, starts_at: datetime
) -> None:
    """A new signing key."""
    await connection.execute(
        """-- tickets.insert_key
        INSERT INTO signing_keys (id, feature, secret, starts_at) VALUES ($1, $2, $3, $4)
        """,
        key_id,
        feature,
        keyring_of(connection).seal_bytes(SIGNING_KEY, key_id, secret),
        starts_at,
    )


async def lock_feature(connection: Connection, feature: str) -> None:
    """Held until the transaction ends, so that replicas that start together make one first key."""
    await connection.execute(
        """-- tickets.lock_feature
        SELECT pg_advisory_xact_lock(hashtextextended('signing_keys:' || $1, 0))
        """,
        feature,
    )
