"""The message of the day, shown before an interactive shell. Reads files: call it in a thread."""

import os
import stat
from pathlib import Path

SYSTEM_MOTD = Path("/etc/motd")
MAX_BYTES = 64 * 1024


def read_motd(home: Path, template_file: Path | None, system_file: Path = SYSTEM_MOTD) -> bytes:
    """The text for a terminal (CR LF), empty when there is none or ~/.hushlogin asks for silence."""
    if (home / ".hushlogin").exists():
        return b""
    texts = [_read(path) for path in (system_file, template_file) if path is not None]
    text = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in texts if part)
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, MAX_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
