"""What `devyard server encryption` does to a running deployment: count, add a key, re-seal, drop old keys.

Called by the CLI with a pool of its own. Invariants: a key leaves the file only when no value is sealed with it
and no process has said for a while that it seals with it; killed at any point, the next call goes on where it was,
and until then the servers' own loop does.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec

from devyard.server.db.pool import keyring_of, open_pool
from devyard.server.db.wakeups import wake
from devyard.server.encryption import queries
from devyard.server.encryption.actions import TOPIC, find_key_file, load_keyring, seal_rows
from devyard.server.encryption.keyfile import KeysError, make_key, read_key_file, replace_key_file
from devyard.server.encryption.keyring import read_key_id
from devyard.server.encryption.places import SEALED
from devyard.server.settings import ServerSettings

QUIET_S = 25.0
"""A process that seals with a key says so every ten seconds (loops.PERIOD_S)."""
PATIENCE_S = 60.0

Say = Callable[[str], object]


class KeyStatus(msgspec.Struct, frozen=True):
    """A key, whether this machine has it and seals with it, and how many values it seals."""

    id: str
    is_here: bool
    is_writer: bool
    values: int
    created_at: datetime | None


class Status(msgspec.Struct, frozen=True):
    """All keys, the values that are in plain text, and both by column."""

    keys: list[KeyStatus]
    plain_values: int
    columns: dict[str, dict[str, int]]

    @property
    def is_complete(self) -> bool:
        """Whether every value is sealed with the key that seals."""
        return not self.plain_values and not any(key.values for key in self.keys if not key.is_writer)


@asynccontextmanager
async def open_deployment(settings: ServerSettings) -> AsyncIterator[asyncpg.Pool]:
    """A small pool with the deployment's keys. Raises KeysError, OSError where the database can't be reached."""
    pool = await open_pool(settings.postgres_url or "", await load_keyring(settings, may_make=False), max_size=2)
    try:
        yield pool
    finally:
        await pool.close()


async def read_status(pool: asyncpg.Pool) -> Status:
    """What is sealed with which key at this moment."""
    keyring = keyring_of(pool)
    columns = {
        f"{sealed.place.table}.{sealed.place.column}": await queries.count_by_key(pool, sealed)
        for sealed in SEALED
    }
    known = {key.id: key for key in await queries.list_keys(pool)}
    seen = {key_id for counts in columns.values() for key_id in counts if key_id != queries.PLAIN}
    keys = [
        KeyStatus(
            id=key_id,
            is_here=key_id in keyring.ids,
            is_writer=key_id == keyring.writer_id,
            values=_sum(columns, key_id),
            created_at=known[key_id].created_at if key_id in known else None,
        )
        for key_id in dict.fromkeys([*keyring.ids, *known, *sorted(seen)])
    ]
    return Status(keys, _sum(columns, queries.PLAIN), columns)


async def rotate(pool: asyncpg.Pool, settings: ServerSettings, say: Say) -> None:
    """Add a key to the file, unless a rotation is under way, and seal everything with it. Raises KeysError."""
    keyring = keyring_of(pool)
    path = find_key_file(settings)
    known = {key.id: key for key in await queries.list_keys(pool)}
    is_under_way = len(keyring.ids) > 1 and known[keyring.writer_id].sealed_at is None
    if path is not None and not is_under_way:
        keys = [make_key(), *read_key_file(path)]
        replace_key_file(path, keys)
        keyring.reload()
        say(f"Added the key {keyring.writer_id} to {path}. Make a copy of that file.")
    elif is_under_way:
        say(f"Going on with the rotation to the key {keyring.writer_id}.")
    else:
        say(f"The keys come by setting: sealing everything with the first of them, {keyring.writer_id}.")
    await queries.touch_key(pool, keyring.writer_id)
    await wake(pool, TOPIC)
    await _seal_everything(pool, say)


async def _seal_everything(pool: asyncpg.Pool, say: Say) -> None:
    """Seal under the lease, or watch the server that does it already."""
    keyring, holder, counts = keyring_of(pool), uuid4(), [0]

    def count(_: str, rows: int) -> None:
        counts[0] += rows

    while True:
        is_sealed = await seal_rows(pool, keyring, holder, on_batch=count)
        if is_sealed is False:
            raise KeysError(
                "Some values could not be sealed with the new key; the log above names them. "
                "Nothing was lost, and no key may be dropped; run the command again once that is mended."
            )
        known = {key.id: key for key in await queries.list_keys(pool)}
        if is_sealed or known[keyring.writer_id].sealed_at is not None:
            say(
                f"Every secret is sealed with the key {keyring.writer_id}; this command moved {counts[0]} of them."
            )
            return
        await asyncio.sleep(0.5)


async def drop_old(pool: asyncpg.Pool, settings: ServerSettings, say: Say, *, quiet_s: float = QUIET_S) -> None:
    """Remove every key but the one that seals, once nobody needs them. Raises KeysError."""
    keyring = keyring_of(pool)
    await _wait_until_unused(pool, keyring.ids[1:], say, quiet_s)
    old = [key.id for key in await queries.list_keys(pool) if key.id != keyring.writer_id]
    path = find_key_file(settings)
    if path is not None:
        _drop_from_file(path, keyring.writer_id)
    await queries.delete_keys(pool, old)
    await wake(pool, TOPIC)
    if path is None:
        say("Only the first key of the setting is needed now; remove the others from it.")
    else:
        say(f"Dropped {len(keyring.ids) - 1} old key(s); {path} holds the key {keyring.writer_id} alone.")


async def _wait_until_unused(pool: asyncpg.Pool, old: tuple[str, ...], say: Say, quiet_s: float) -> None:
    deadline = time.monotonic() + PATIENCE_S
    has_said = False
    while True:
        users = [
            key.id
            for key in await queries.list_keys(pool)
            if key.id in old and await _is_written(pool, key.written_at, quiet_s)
        ]
        if not users:
            break
        if time.monotonic() > deadline:
            raise KeysError(
                f"A server still seals with the key {users[0]}, so it was not dropped. Give every server the new "
                "key file, or the new setting, and run the command again."
            )
        if not has_said:
            has_said = True
            say("Waiting until every server seals with the new key.")
        await asyncio.sleep(1)
    status = await read_status(pool)
    needed = [key for key in status.keys if not key.is_writer and key.values]
    if needed or status.plain_values:
        what = (
            f"{needed[0].values} values need the key {needed[0].id}" if needed else "some values are in plain text"
        )
        raise KeysError(f"No key was dropped: {what}. Run `devyard server encryption rotate` again.")


async def _is_written(pool: asyncpg.Pool, written_at: datetime, quiet_s: float) -> bool:
    now: datetime = await pool.fetchval("SELECT now()")
    return written_at > now - timedelta(seconds=quiet_s)


def _drop_from_file(path: Path, writer_id: str) -> None:
    kept = [key for key in read_key_file(path) if read_key_id(key).hex() == writer_id]
    if not kept:
        raise KeysError(f"{path} has changed meanwhile: the key {writer_id} is not in it any more.")
    replace_key_file(path, kept)


def _sum(columns: Mapping[str, Mapping[str, int]], key_id: str) -> int:
    return sum(counts.get(key_id, 0) for counts in columns.values())
