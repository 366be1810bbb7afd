"""What an SSH session needs from the rest of the agent, as one value; and the counts it gives back.

Made by program.py. Sessions read the environment at their start, so that a changed manifest holds for the
next one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SessionKind = Literal["ssh", "vscode", "jetbrains"]
SESSION_TYPE_VARIABLES = ("CODER_SSH_SESSION_TYPE", "DEVYARD_SSH_SESSION_TYPE")


@dataclass
class Counts:
    """Traffic and open sessions. Bytes grow for ever; the reader takes differences."""

    rx_bytes: int = 0
    tx_bytes: int = 0
    connections: int = 0
    sessions: dict[SessionKind, int] = field(default_factory=lambda: {"ssh": 0, "vscode": 0, "jetbrains": 0})


@dataclass(frozen=True)
class Surroundings:
    """Where a session starts: the whole environment, the directory, the login shell, the template's motd."""

    environment: dict[str, str]
    directory: Path
    shell: str
    home: Path
    motd_file: Path | None


@dataclass(frozen=True)
class SSHContext:
    """Given to each connection. `host_key` is an OpenSSH private key in PEM."""

    host_key: bytes
    surroundings: Callable[[], Surroundings]
    counts: Counts
    is_file_transfer_blocked: bool = False


def session_kind(environment: dict[str, str]) -> SessionKind:
    """Takes the client's word for what it is, and removes it from the environment."""
    named = [environment.pop(name, "") for name in SESSION_TYPE_VARIABLES]
    for name in named:
        if name.lower() == "vscode":
            return "vscode"
        if name.lower() == "jetbrains":
            return "jetbrains"
    return "ssh"
