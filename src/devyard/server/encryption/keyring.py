"""Seals and opens values of the database: AES-256-GCM with keys that are not in it.

Held by every connection of the pool (db/pool.py), used by the queries that write or read a sealed column.
Invariants: the first key seals, every key opens; a sealed value opens only at the place it was sealed for; empty
values stay empty, and a value without the mark is plain text of an earlier version, given back as it is.
docs/design/encryption.md
"""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
ID_BYTES = 8
NONCE_BYTES = 12
BYTES_MARK = b"\x00dys1"
TEXT_MARK = "dys1:"
RELOAD_EVERY_S = 1.0


class Place(NamedTuple):
    """A sealed column; with a row's id it is what a ciphertext is bound to."""

    table: str
    column: str

    def bind(self, row_id: object) -> bytes:
        """The associated data of a value of this column."""
        return f"{self.table}.{self.column}:{row_id}".encode()


class SealError(Exception):
    """A sealed value can't be opened: its key is not there, or it is not what was sealed at its place."""


class Keyring:
    """Keys by id. `read_keys` gives the keys as they are now, for one that was added while the process runs."""

    def __init__(self, keys: Sequence[bytes], read_keys: Callable[[], Sequence[bytes]] | None = None) -> None:
        self._read_keys = read_keys
        self._reloaded_at = time.monotonic()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._writer = b""
        self._take(keys)

    @property
    def writer_id(self) -> str:
        """The id of the key that seals, 16 hex digits."""
        return self._writer.hex()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the one that seals first."""
        return tuple(key_id.hex() for key_id in self._ciphers)

    def reload(self) -> None:
        """Take the keys as they are now. Raises what reading them raises, and then keeps those it had."""
        if self._read_keys is not None:
            self._take(self._read_keys())

    def seal_bytes(self, place: Place, row_id: object, data: bytes) -> bytes:
        """`data` sealed, with the mark and the key's id in front."""
        return BYTES_MARK + self._writer + self._encrypt(place, row_id, data) if data else data

    def open_bytes(self, place: Place, row_id: object, data: bytes) -> bytes:
        """What `seal_bytes` was given. Raises SealError."""
        if not data.startswith(BYTES_MARK):
            return data
        start = len(BYTES_MARK)
        return self._decrypt(place, row_id, data[start : start + ID_BYTES], data[start + ID_BYTES :])

    def seal_text(self, place: Place, row_id: object, text: str) -> str:
        """`text` sealed, as printable text: mark, key id, base64."""
        if not text:
            return text
        sealed = base64.b64encode(self._encrypt(place, row_id, text.encode())).decode()
        return f"{TEXT_MARK}{self._writer.hex()}:{sealed}"

    def open_text(self, place: Place, row_id: object, text: str) -> str:
        """What `seal_text` was given. Raises SealError."""
        if not text.startswith(TEXT_MARK):
            return text
        key_id, _, sealed = text[len(TEXT_MARK) :].partition(":")
        try:
            raw_id, raw = bytes.fromhex(key_id), base64.b64decode(sealed, validate=True)
        except ValueError:
            raise SealError(f"A sealed value of {place.table}.{place.column} is damaged.") from None
        return self._decrypt(place, row_id, raw_id, raw).decode()

    def seal_json(self, place: Place, row_id: object, value: Any) -> Any:
        """A JSON value sealed into a JSON string; an empty list or object stays what it is."""
        return self.seal_text(place, row_id, msgspec.json.encode(value).decode()) if value else value

    def open_json(self, place: Place, row_id: object, value: Any) -> Any:
        """What `seal_json` was given. Raises SealError."""
        if not isinstance(value, str) or not value.startswith(TEXT_MARK):
            return value
        return msgspec.json.decode(self.open_text(place, row_id, value))

    def _take(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a keyring needs a key")
        ciphers = {read_key_id(key): key for key in keys}
        self._ciphers = {key_id: self._ciphers.get(key_id) or AESGCM(key) for key_id, key in ciphers.items()}
        self._writer = next(iter(self._ciphers))

    def _encrypt(self, place: Place, row_id: object, data: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self._writer].encrypt(nonce, data, place.bind(row_id))

    def _decrypt(self, place: Place, row_id: object, key_id: bytes, sealed: bytes) -> bytes:
        cipher = self._find(key_id)
        if cipher is None:
            raise SealError(
                f"A value of {place.table}.{place.column} is sealed with the key {key_id.hex()}, which this "
                "server does not have; give it that key too."
            )
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.bind(row_id))
        except (InvalidTag, ValueError):
            raise SealError(f"A sealed value of {place.table}.{place.column} was changed or moved.") from None

    def _find(self, key_id: bytes) -> AESGCM | None:
        """The key of an id; one that is not known may have been added a moment ago."""
        cipher = self._ciphers.get(key_id)
        now = time.monotonic()
        if cipher is None and now - self._reloaded_at >= RELOAD_EVERY_S:
            self._reloaded_at = now
            try:
                self.reload()
            except (OSError, ValueError):
                return None
            cipher = self._ciphers.get(key_id)
        return cipher


def read_key_id(key: bytes) -> bytes:
    """The id of a key: only who has the key can make it, and it tells nothing about the key."""
    return hmac.digest(key, b"devyard encryption key id", hashlib.sha256)[:ID_BYTES]
