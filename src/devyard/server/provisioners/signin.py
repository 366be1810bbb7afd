"""How a provisioner signs in: with the key of this server's own children, or with a key of an organization."""

import hashlib
import hmac
from typing import Any
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection

from devyard.server.http.signin import Presented
from devyard.server.organizations.lookup import find_organization
from devyard.server.provisioners import queries
from devyard.server.services import Services
from devyard.wire.errors import NotFound, Unauthenticated
from devyard.wire.provisionerlink import KEY_HEADER

KEY_HEADERS = (KEY_HEADER, "Coder-Provisioner-Daemon-Key")
MAX_KEY_CHARS = 256


class Provisioner(msgspec.Struct, frozen=True):
    """Whose jobs a connection may take. With a key of its own, the key's tags are the daemon's."""

    organization_id: UUID
    key_id: UUID | None = None
    tags: dict[str, str] | None = None


def hash_key(text: str) -> bytes:
    """What is stored in place of a key."""
    return hashlib.sha256(text.encode()).digest()


async def authenticate_provisioner(
    connection: ASGIConnection[Any, Any, Any, Any], services: Services, _: Presented | None
) -> Provisioner:
    """The guard's authenticator of provisioners.

    Raises:
        Unauthenticated: no key, or a wrong one. NotFound: the key is not of the organization in the path.
    """
    text = next((connection.headers[name] for name in KEY_HEADERS if connection.headers.get(name)), "")
    if not text or len(text) > MAX_KEY_CHARS:
        raise Unauthenticated(f"A provisioner signs in with its key in the header {KEY_HEADER}.")
    wanted = str(connection.path_params.get("organization", "default"))
    if hmac.compare_digest(text.encode(), services.internal_key.encode()):
        return Provisioner(await _load_organization_id(services, wanted))
    key = await queries.get_key_by_hash(services.pool, hash_key(text))
    if key is None:
        raise Unauthenticated("The provisioner key is wrong or was removed.")
    if wanted != "default" and await _load_organization_id(services, wanted) != key.organization_id:
        raise NotFound
    return Provisioner(key.organization_id, key.id, dict(key.tags))


async def _load_organization_id(services: Services, text: str) -> UUID:
    row = await find_organization(services.pool, text)
    if row is None:
        raise NotFound
    return row.id
