"""Signs stream tickets with the keys of `signing_keys`; the relay verifies them with the public halves.

The newest key whose time has come signs, all that live verify. docs/design/tunnels.md
"""

import secrets
from collections.abc import Mapping
from datetime import datetime

import asyncpg
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devyard.net.tickets import sign_ticket
from devyard.server.db.pool import transaction
from devyard.server.tickets import queries
from devyard.wire.streams import TicketClaims

FEATURE = "streams"


class TicketSigner:
    """The process's signing key and the public halves of all living keys."""

    def __init__(self, key_id: str, keys: Mapping[str, Ed25519PrivateKey]) -> None:
        self._key_id = key_id
        self._keys = dict(keys)

    def sign(self, claims: TicketClaims) -> str:
        """The ticket's text; `claims.key_id` is set to the key that signs."""
        claims = msgspec.structs.replace(claims, key_id=self._key_id)
        return sign_ticket(claims, self._keys[self._key_id])

    def public_keys(self) -> Mapping[str, bytes]:
        """Raw Ed25519 public keys (32 bytes) by id, for the relays."""
        return {key_id: key.public_key().public_bytes_raw() for key_id, key in self._keys.items()}


async def load_signer(pool: asyncpg.Pool, now: datetime) -> TicketSigner:
    """The signer of this deployment; makes the first key where there is none."""
    async with transaction(pool) as connection:
        await queries.lock_feature(connection, FEATURE)
        rows = await queries.list_keys(connection, FEATURE, now)
        if not any(starts_at <= now for _, _, starts_at in rows):
            key_id, secret = secrets.token_hex(8), Ed25519PrivateKey.generate().private_bytes_raw()
            await queries.insert_key(connection, key_id=key_id, feature=FEATURE, secret=secret, starts_at=now)
            rows.append((key_id, secret, now))
    keys = {key_id: Ed25519PrivateKey.from_private_bytes(secret) for key_id, secret, _ in rows}
    current = max((row for row in rows if row[2] <= now), key=lambda row: row[2])
    return TicketSigner(current[0], keys)
