"""Where the CLI keeps who is signed in where: a directory with two plain files, `url` and `session`.

Called by the CLI and by quickstart. IDE plug-ins write and read the same two files. The token's file is
readable by its owner only, and both appear by rename, so that a reader never sees half of one. Paths are text
here: pathlib would be imported for this file alone by every command.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH111, PTH118, PTH123

import os
from typing import NamedTuple

URL_FILE = "url"
TOKEN_FILE = "session"  # noqa: S105
MAX_FILE_BYTES = 64 * 1024


class Session(NamedTuple):
    """A server and a token; either may be empty."""

    url: str
    token: str


def default_config_dir(environment: dict[str, str] | None = None) -> str:
    """`$DEVYARD_CONFIG_DIR`, `$CODER_CONFIG_DIR`, or `devyard` in the user's configuration directory."""
    variables = os.environ if environment is None else environment
    for name in ("DEVYARD_CONFIG_DIR", "CODER_CONFIG_DIR"):
        if variables.get(name):
            return os.path.expanduser(variables[name])
    root = variables.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(root, "devyard")


def read_session(config_dir: str) -> Session:
    """What is stored; empty where nothing is."""
    return Session(_read(config_dir, URL_FILE), _read(config_dir, TOKEN_FILE))


def write_session(config_dir: str, session: Session) -> None:
    """Stores both. Raises OSError."""
    os.makedirs(config_dir, mode=0o700, exist_ok=True)
    write_private(os.path.join(config_dir, URL_FILE), session.url.encode())
    write_private(os.path.join(config_dir, TOKEN_FILE), session.token.encode())


def forget_session(config_dir: str) -> None:
    """Removes both files."""
    for name in (TOKEN_FILE, URL_FILE):
        try:
            os.unlink(os.path.join(config_dir, name))
        except FileNotFoundError:
            pass


def write_private(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file in one step. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(config_dir: str, name: str) -> str:
    try:
        with open(os.path.join(config_dir, name), encoding="utf-8", errors="replace") as file:
            return file.read(MAX_FILE_BYTES).strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
