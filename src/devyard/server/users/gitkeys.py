"""Makes the ed25519 key pair with which a user's workspaces reach git hosts. Pure."""

from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


class GitKey(NamedTuple):
    """Both halves in OpenSSH's formats."""

    public: str
    private: str


def make_git_key() -> GitKey:
    """A new key pair."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return GitKey(f"{public}\n", private)
