"""The agent's SSH host key: one Ed25519 key, made once, kept in the state directory with mode 0600.

The public line is kept beside it, so that a restart reports it without loading any cryptography.
"""

import os
from pathlib import Path

KEY_NAME = "agent_host_ed25519"


def load_host_key(state_dir: Path) -> tuple[bytes, str]:
    """The private key (OpenSSH PEM) and its public line. Made when missing or unreadable. Raises OSError."""
    private_path, public_path = state_dir / KEY_NAME, state_dir / f"{KEY_NAME}.pub"
    try:
        private, public = private_path.read_bytes(), public_path.read_text("ascii").strip()
        if private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----") and public.startswith("ssh-ed25519 "):
            return private, public
    except (OSError, UnicodeDecodeError):
        pass
    private, public = make_host_key()
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(private_path, private, 0o600)
    _replace(public_path, public.encode("ascii") + b"\n", 0o644)
    return private, public


def make_host_key() -> tuple[bytes, str]:
    """A new key: private part as OpenSSH PEM, public part as one line."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public.decode("ascii")


def _replace(path: Path, data: bytes, mode: int) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    new.replace(path)
