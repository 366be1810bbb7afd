"""What an agent is started with: one frozen struct, made from flags and environment by the CLI.

Names and fallbacks live here so that the CLI command and a direct start read the same variables. Nothing is
read at import.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

URL_VARIABLES = ("CODER_AGENT_URL", "DEVYARD_AGENT_URL")
TOKEN_VARIABLES = ("CODER_AGENT_TOKEN", "DEVYARD_AGENT_TOKEN")
TOKEN_FILE_VARIABLES = ("CODER_AGENT_TOKEN_FILE", "DEVYARD_AGENT_TOKEN_FILE")


class SettingsError(Exception):
    """The agent can't start with what it was given; the message says which option and what is allowed."""


class AgentSettings(msgspec.Struct, frozen=True):
    """Start options. Paths are absolute, `ssh_max_timeout_s` 0 means sessions may be idle for ever."""

    url: str
    token: str
    log_dir: Path
    script_data_dir: Path
    state_dir: Path
    home: Path
    environment: dict[str, str]
    block_file_transfer: bool = False
    ssh_max_timeout_s: float = 72 * 3600.0


def read_settings(
    environ: Mapping[str, str],
    *,
    url: str = "",
    token: str = "",
    token_file: str = "",
    log_dir: str = "/tmp",  # noqa: S108 (the field's default; files inside are made safely)
    script_data_dir: str = "/tmp",  # noqa: S108
    block_file_transfer: bool = False,
    ssh_max_timeout_s: float = 72 * 3600.0,
) -> AgentSettings:
    """Flags win over `environ`. Raises SettingsError that names the option and its variables."""
    url = (url or _first(environ, URL_VARIABLES)).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise SettingsError(
            f"No usable server address ({url!r}): pass --agent-url or set {' or '.join(URL_VARIABLES)} "
            "to an http:// or https:// address."
        )
    token = token or _read_token(token_file or _first(environ, TOKEN_FILE_VARIABLES))
    token = token or _first(environ, TOKEN_VARIABLES)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"No usable agent token: pass --agent-token-file or set {' or '.join(TOKEN_VARIABLES)}."
        )
    home = find_home(environ)
    state = environ.get("XDG_STATE_HOME", "")
    return AgentSettings(
        url=url,
        token=token,
        log_dir=Path(log_dir).absolute(),
        script_data_dir=Path(script_data_dir).absolute(),
        state_dir=Path(state) / "devyard" if state.startswith("/") else home / ".devyard",
        home=home,
        environment=dict(environ),
        block_file_transfer=block_file_transfer,
        ssh_max_timeout_s=ssh_max_timeout_s,
    )


def find_home(environ: Mapping[str, str]) -> Path:
    """The user's home directory: HOME, else the password file's, else /."""
    import os
    import pwd

    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _read_token(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The agent token file {path} can't be read: {error}.") from None
