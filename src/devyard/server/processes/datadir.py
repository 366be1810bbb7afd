"""The data directory: made private, locked by one server at a time, with the files by which others find it.

server.lock      held (flock) by the running supervisor; freed by the kernel however it ends
server.json      {pid, address, access_url} of the running server, removed at a clean end
internal.key     signs in this server's own children; made once
relay.sock       where API processes register at the relay
postgres/        the embedded database
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

import msgspec


class DataDirError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


class ServerInfo(msgspec.Struct, frozen=True):
    """The running server as others see it."""

    pid: int
    address: str
    access_url: str


class DataDir:
    """A locked data directory. Close it, or end the process, to unlock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid != os.geteuid():
                raise DataDirError(
                    f"The data directory {path} belongs to another user; choose another --data-dir."
                )
            path.chmod(0o700)
            self._lock_fd = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataDirError(f"The data directory {path} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_fd)
            raise DataDirError(_describe_other(path)) from None

    def load_internal_key(self) -> str:
        """The key of this server's own children, 64 hex digits; made on the first call."""
        path = self.path / "internal.key"
        with contextlib.suppress(FileNotFoundError):
            key = path.read_text("ascii").strip()
            if len(key) == 64:
                path.chmod(0o600)
                return key
        key = secrets.token_hex(32)
        _write_private(path, key.encode("ascii") + b"\n")
        return key

    def write_info(self, info: ServerInfo) -> None:
        """Publishes server.json."""
        _write_private(self.path / "server.json", msgspec.json.encode(info) + b"\n")

    def close(self) -> None:
        """Removes server.json and unlocks."""
        (self.path / "server.json").unlink(missing_ok=True)
        os.close(self._lock_fd)


def read_info(path: Path) -> ServerInfo | None:
    """server.json of a data directory, None when there is none or it is not readable."""
    try:
        return msgspec.json.decode((path / "server.json").read_bytes(), type=ServerInfo)
    except (OSError, msgspec.MsgspecError):
        return None


def _describe_other(path: Path) -> str:
    info = read_info(path)
    who = f"pid {info.pid}, {info.access_url}" if info is not None else "just starting or ending"
    return f"Another server ({who}) already uses {path}. Stop it first, or choose another --data-dir."


def _write_private(path: Path, data: bytes) -> None:
    """Writes a 0600 file whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o600)
        file.write(data)
        file.flush()
        os.fsync(fd)
    temporary.replace(path)
