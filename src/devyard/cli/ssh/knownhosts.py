"""The known_hosts file that `config-ssh` points OpenSSH at, kept by `ssh --stdio` itself.

The stream's opener learns the agent's host keys from the server, over a trusted connection, before ssh sees the
first byte of the agent. It writes them here under the name that ssh looks up, so that plain `ssh WS.devyard`
verifies the agent without asking and without a round trip more. Bounded: the hosts used last stay.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from devyard.cli.ssh.openssh import render_known_hosts
from devyard.sdk.session import write_private

FILE_NAME = "known_hosts"
MAX_LINES = 4000


def remember_host(config_dir: Path, host: str, keys: Sequence[str]) -> None:
    """Makes `keys` the only ones of `host`. Raises OSError."""
    lines = render_known_hosts(host.lower(), keys)
    if not lines:
        return
    path = config_dir / FILE_NAME
    before = path.read_text() if path.exists() else ""
    if has_exactly(before, host.lower(), lines):
        return
    config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (config_dir / f"{FILE_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_text() if path.exists() else ""
        write_private(os.fspath(path), merge(before, host.lower(), lines).encode())


def has_exactly(content: str, host: str, lines: str) -> bool:
    """Whether the file says that already."""
    return "".join(line for line in content.splitlines(True) if line.startswith(f"{host} ")) == lines


def merge(content: str, host: str, lines: str) -> str:
    """The file with one host's lines replaced, at its end."""
    others = [line for line in content.splitlines(True) if not line.startswith(f"{host} ")]
    return "".join(others[-MAX_LINES:]) + lines
