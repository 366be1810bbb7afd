"""Background work on the keys: takes a key that was added, and seals what is not sealed with it yet.

Registered by app.py, on every replica; the sealing runs on one of them, by lease.
"""

import time
from uuid import uuid4

import structlog

from devyard.server.background import Loop
from devyard.server.db.pool import keyring_of
from devyard.server.encryption import queries
from devyard.server.encryption.actions import TOPIC, seal_rows
from devyard.server.encryption.keyfile import KeysError
from devyard.server.services import Services

PERIOD_S = 10.0
REST_S = 900.0
"""Until rows that could not be opened are tried again."""

log = structlog.get_logger("encryption")


def list_loops(services: Services) -> list[Loop]:
    """The one loop; woken by a rotation."""
    keyring, holder = keyring_of(services.pool), uuid4()
    rest_until = 0.0

    async def run_round() -> None:
        nonlocal rest_until
        before = keyring.writer_id
        try:
            keyring.reload()
        except (OSError, KeysError) as error:
            log.error("the encryption keys can't be read; those in memory are used on", reason=str(error))
        if keyring.writer_id != before:
            log.info("seals with another key", key_id=keyring.writer_id, before=before)
        is_complete = await queries.touch_key(services.pool, keyring.writer_id)
        if is_complete or (time.monotonic() < rest_until and keyring.writer_id == before):
            return
        counts: list[int] = []
        is_sealed = await seal_rows(services.pool, keyring, holder, on_batch=lambda _, rows: counts.append(rows))
        if is_sealed and counts:
            log.info("all secrets of the database are sealed", key_id=keyring.writer_id, values=sum(counts))
        elif is_sealed is False:
            rest_until = time.monotonic() + REST_S

    return [Loop("seal secrets", PERIOD_S, run_round, (TOPIC,))]
