"""SQL of the known keys and of the sealed columns. Names of tables and columns come from places.py alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.encryption.places import Sealed

PLAIN = "plain"
_KEY_OF = {
    "bytes": "CASE WHEN substring({c} FROM 1 FOR 5) = '\\x0064797331'::bytea "
    "THEN encode(substring({c} FROM 6 FOR 8), 'hex') ELSE 'plain' END",
    "text": "CASE WHEN starts_with({c}, 'dys1:') THEN substring({c} FROM 6 FOR 16) ELSE 'plain' END",
    "json": "CASE WHEN jsonb_typeof({c}) = 'string' AND starts_with({c} #>> '{{}}', 'dys1:') "
    "THEN substring({c} #>> '{{}}' FROM 6 FOR 16) ELSE 'plain' END",
}
_HAS_VALUE = {
    "bytes": "octet_length({c}) > 0",
    "text": "{c} <> ''",
    "json": "{c} NOT IN ('[]', '{{}}', 'null')",
}


class KnownKey(msgspec.Struct, frozen=True):
    """A key that rows may be sealed with; `written_at` is when a process last said that it seals with it,
    `sealed_at` when every row was found sealed with it.
    """

    id: str
    created_at: datetime
    written_at: datetime
    sealed_at: datetime | None


async def lock_keys(executor: Executor) -> None:
    """Held until the transaction ends, so that servers that start together agree on the first key."""
    await executor.execute(
        """-- encryption.lock_keys
        SELECT pg_advisory_xact_lock(hashtextextended('encryption_keys', 0))
        """
    )


async def list_keys(executor: Executor) -> list[KnownKey]:
    """Every key that rows may be sealed with, oldest first."""
    rows = await executor.fetch(
        """-- encryption.list_keys
        SELECT id, created_at, written_at, sealed_at FROM encryption_keys ORDER BY created_at, id
        """
    )
    return [KnownKey(**row) for row in rows]


async def touch_key(executor: Executor, key_id: str) -> bool:
    """That a process seals with this key; answers whether every row was found sealed with it."""
    is_complete: bool = await executor.fetchval(
        """-- encryption.touch_key
        INSERT INTO encryption_keys AS k (id) VALUES ($1)
        ON CONFLICT (id) DO UPDATE SET written_at = now() RETURNING k.sealed_at IS NOT NULL
        """,
        key_id,
    )
    return is_complete


async def mark_sealed(executor: Executor, key_id: str) -> None:
    """Every row is sealed with this key; what said so of others does no longer hold."""
    await executor.execute(
        """-- encryption.mark_sealed
        UPDATE encryption_keys SET sealed_at = CASE WHEN id = $1 THEN now() END
        """,
        key_id,
    )


async def delete_keys(executor: Executor, key_ids: Sequence[str]) -> None:
    """Forget keys that no row is sealed with."""
    await executor.execute(
        """-- encryption.delete_keys
        DELETE FROM encryption_keys WHERE id = ANY($1::text[])
        """,
        list(key_ids),
    )


async def count_by_key(executor: Executor, sealed: Sealed) -> dict[str, int]:
    """How many values of a column are sealed with which key; `plain` for those that are not."""
    key, has_value = _expressions(sealed)
    rows = await executor.fetch(
        f"-- encryption.count_by_key\nSELECT {key} AS key, count(*) AS rows "
        f"FROM {sealed.place.table} WHERE {has_value} GROUP BY 1"
    )
    return {row["key"]: row["rows"] for row in rows}


async def list_other(executor: Executor, sealed: Sealed, *, key_id: str, after: Any) -> list[tuple[Any, Any]]:
    """A batch of (id, value) of rows behind the id `after` that are not sealed with `key_id`, by id."""
    key, has_value = _expressions(sealed)
    table, column = sealed.place
    rows = await executor.fetch(
        f"-- encryption.list_other\nSELECT id, {column} AS value FROM {table} "
        f"WHERE ($1::{sealed.id_type} IS NULL OR id > $1) AND {has_value} AND {key} <> $2 "
        f"ORDER BY id LIMIT {sealed.batch_rows}",
        after,
        key_id,
    )
    return [(row["id"], row["value"]) for row in rows]


async def replace_value(executor: Executor, sealed: Sealed, row_id: Any, old: Any, new: Any) -> None:
    """Another form of a value, unless it was written meanwhile."""
    table, column = sealed.place
    await executor.execute(
        f"-- encryption.replace_value\nUPDATE {table} SET {column} = $3 WHERE id = $1 AND {column} = $2",
        row_id,
        old,
        new,
    )


def _expressions(sealed: Sealed) -> tuple[str, str]:
    column = sealed.place.column
    return _KEY_OF[sealed.kind].format(c=column), _HAS_VALUE[sealed.kind].format(c=column)
