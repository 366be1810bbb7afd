"""Loads the keys at start, and moves rows to the key that seals.

Called by app.py, the loop and `devyard server encryption`. Invariants: a server never starts on a database with a
key it lacks; only a value that is still what was read is replaced; a row that can't be opened is left as it is.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from devyard.server.db.leases import claim_lease
from devyard.server.encryption import queries
from devyard.server.encryption.keyfile import FILE_NAME, KeysError, make_key_file, parse_keys, read_key_file
from devyard.server.encryption.keyring import Keyring, SealError
from devyard.server.encryption.places import SEALED, Sealed
from devyard.server.settings import ServerSettings

TOPIC = "encryption"
LEASE = "encryption:seal"
LEASE_S = 60.0
PAUSE_S = 0.05
SETTING = "DEVYARD_ENCRYPTION_KEYS"

log = structlog.get_logger("encryption")


def find_key_file(settings: ServerSettings) -> Path | None:
    """Where the keys lie; None where they come by setting."""
    if settings.encryption_keys:
        return None
    return settings.encryption_keys_file or settings.data_dir / FILE_NAME


async def load_keyring(settings: ServerSettings, *, may_make: bool = True) -> Keyring:
    """The keys of this deployment; makes the first one where the database knows none yet.

    Raises:
        KeysError: they can't be read, or the database has rows sealed with a key that is not among them.
    """
    connection = await asyncpg.connect(settings.postgres_url)
    try:
        async with connection.transaction():
            await queries.lock_keys(connection)
            known = {key.id for key in await queries.list_keys(connection)}
            keyring = _read(settings, known, may_make=may_make)
            if missing := sorted(known - set(keyring.ids)):
                raise KeysError(_describe_missing(settings, missing))
            await queries.touch_key(connection, keyring.writer_id)
            return keyring
    finally:
        await connection.close()


def _read(settings: ServerSettings, known: set[str], *, may_make: bool) -> Keyring:
    path = find_key_file(settings)
    if path is None:
        return Keyring(parse_keys(settings.encryption_keys or "", SETTING))
    try:
        keys = read_key_file(path)
    except FileNotFoundError:
        if known or not may_make:
            raise KeysError(_describe_missing(settings, sorted(known))) from None
        try:
            keys = make_key_file(path)
        except OSError as error:
            raise KeysError(f"{path}: the encryption key can't be written: {error.strerror}.") from None
    return Keyring(keys, partial(read_key_file, path))


def _describe_missing(settings: ServerSettings, missing: list[str]) -> str:
    path = find_key_file(settings)
    where = SETTING if path is None else str(path)
    if not missing:
        return f"There is no file of encryption keys at {where} yet; the server makes it at its first start."
    names = ", ".join(missing)
    what = f"{where} lacks" if path is None or path.exists() else f"{where} is not there, and with it"
    return (
        f"The database holds secrets sealed with the encryption key {names}; {what} that key. Copy the key file "
        "of the server that made it (encryption.keys in its data directory), name it by --encryption-keys-file, "
        f"or give the keys by {SETTING}. Without the key these secrets can't be read."
    )


async def seal_rows(
    pool: asyncpg.Pool,
    keyring: Keyring,
    holder: UUID,
    *,
    on_batch: Callable[[str, int], object] = lambda table, rows: None,
) -> bool | None:
    """Seal with the writing key whatever is sealed with another one or not at all, in batches, under the lease.

    Answers True when all is, False where rows can't be opened, None where another process holds the lease. It can
    be stopped at any moment and begun again.
    """
    try:
        return await _seal_all(pool, keyring, holder, on_batch)
    finally:
        await claim_lease(pool, LEASE, holder, duration_s=0)


async def _seal_all(
    pool: asyncpg.Pool, keyring: Keyring, holder: UUID, on_batch: Callable[[str, int], object]
) -> bool | None:
    for _ in range(10):  # rows that are written meanwhile by a process that does not know the new key yet
        found = failed = 0
        for sealed in SEALED:
            counts = await _seal_column(pool, keyring, sealed, holder, on_batch)
            if counts is None:
                return None
            found, failed = found + counts[0], failed + counts[1]
        if failed:
            return False
        if not found:
            await queries.mark_sealed(pool, keyring.writer_id)
            return True
    return False


async def _seal_column(
    pool: asyncpg.Pool, keyring: Keyring, sealed: Sealed, holder: UUID, on_batch: Callable[[str, int], object]
) -> tuple[int, int] | None:
    """(rows found, rows that can't be opened), or None where the lease is gone."""
    after: Any = None
    found = failed = 0
    while True:
        if not await claim_lease(pool, LEASE, holder, duration_s=LEASE_S):
            return None
        rows = await queries.list_other(pool, sealed, key_id=keyring.writer_id, after=after)
        for row_id, value in rows:
            try:
                await queries.replace_value(pool, sealed, row_id, value, reseal(keyring, sealed, row_id, value))
            except SealError as error:
                failed += 1
                log.error("a sealed value can't be moved to the new key", id=str(row_id), reason=str(error))
        if rows:
            after = rows[-1][0]
            found += len(rows)
            on_batch(sealed.place.table, len(rows))
        if len(rows) < sealed.batch_rows:
            return found, failed
        await asyncio.sleep(PAUSE_S)


def reseal(keyring: Keyring, sealed: Sealed, row_id: Any, value: Any) -> Any:
    """A stored value, plain or sealed, sealed with the writing key."""
    place = sealed.place
    if sealed.kind == "bytes":
        return keyring.seal_bytes(place, row_id, keyring.open_bytes(place, row_id, value))
    if sealed.kind == "text":
        return keyring.seal_text(place, row_id, keyring.open_text(place, row_id, value))
    return keyring.seal_json(place, row_id, keyring.open_json(place, row_id, value))
