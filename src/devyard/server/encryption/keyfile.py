"""The text form of the keys and the file they lie in: base64 of 32 bytes, one a line, the first one seals.

Called at start and by the rotation. Invariants: a file is written whole or not at all and for its owner alone;
no message quotes what stands in it.
"""

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import structlog

from devyard.server.encryption.keyring import KEY_BYTES, read_key_id
from devyard.server.processes.serverapp import StartRefused

FILE_NAME = "encryption.keys"
MAX_FILE_BYTES = 64 * 1024
MAX_KEYS = 100

log = structlog.get_logger("encryption")


class KeysError(StartRefused):
    """The keys can't be used; the message says why and what to do, never what they are."""


def make_key() -> bytes:
    """A new key."""
    return secrets.token_bytes(KEY_BYTES)


def parse_keys(text: str, source: str) -> list[bytes]:
    """Keys from lines or a list with commas; `#` begins a comment. Raises KeysError that names `source`."""
    words = [word for line in text.splitlines() for word in re.split(r"[,\s]+", line.partition("#")[0]) if word]
    keys: dict[bytes, None] = {}
    for number, word in enumerate(words, 1):
        try:
            key = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise KeysError(f"{source}: key {number} is not the base64 of {KEY_BYTES} bytes.")
        keys[key] = None
    if not keys:
        raise KeysError(f"{source}: there is no key in it.")
    if len(keys) > MAX_KEYS:
        raise KeysError(f"{source}: more than {MAX_KEYS} keys.")
    return list(keys)


def read_key_file(path: Path) -> list[bytes]:
    """The keys of a file. Raises FileNotFoundError, KeysError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeysError(f"{path}: the file of the encryption keys can't be read: {error.strerror}.") from None
    if len(data) > MAX_FILE_BYTES:
        raise KeysError(f"{path}: larger than {MAX_FILE_BYTES} bytes; that is no file of encryption keys.")
    if stat.S_IMODE(mode) & 0o007:
        log.warning("everybody on this machine may read the encryption keys", path=str(path))
    return parse_keys(data.decode("utf-8", "replace"), str(path))


def make_key_file(path: Path) -> list[bytes]:
    """A file with one new key, unless there is one already; answers the keys that are in it then."""
    key = make_key()
    temporary = _write_beside(path, [key])
    try:
        os.link(temporary, path)  # fails where another process was first, and never shows half a file
    except FileExistsError:
        return read_key_file(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)
    log.info("made an encryption key", path=str(path), key_id=read_key_id(key).hex())
    return [key]


def replace_key_file(path: Path, keys: Sequence[bytes]) -> None:
    """Other keys in place of those in the file; its owner and mode stay."""
    before = path.stat()
    temporary = _write_beside(path, keys)
    try:
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode) & 0o640)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _write_beside(path: Path, keys: Sequence[bytes]) -> Path:
    lines = [
        "# Keys that the database is sealed with. Without them it can't be read: keep a copy, apart from backups",
        "# of the database. The first key seals, all of them open. `devyard server encryption rotate` adds one.",
        *(base64.b64encode(key).decode() for key in keys),
    ]
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, 0o600)
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(fd)
    return temporary


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
