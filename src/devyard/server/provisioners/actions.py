"""Writes on provisioner keys; each owns its transaction and leaves an audit row in it."""

import secrets
from collections.abc import Mapping
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor
from devyard.server.audit.actions import record
from devyard.server.db.pool import transaction
from devyard.server.jobs.rules import normalize_tags
from devyard.server.names import check_name
from devyard.server.provisioners import queries
from devyard.server.provisioners.signin import hash_key
from devyard.server.services import Services
from devyard.wire.errors import Invalid, NotFound


async def create_key(
    services: Services, actor: Actor, organization_id: UUID, name: str, tags: Mapping[str, str]
) -> str:
    """A key for provisioners of an organization; its text exists only in the answer.

    Raises:
        Invalid: name or tags. Conflict: the name is taken.
    """
    if problems := check_name("name", name, max_chars=64):
        raise Invalid("The provisioner key was refused.", validations=problems)
    kept, text, key_id = normalize_tags(tags), secrets.token_urlsafe(32), uuid4()
    async with transaction(services.pool) as connection:
        await queries.insert_key(
            connection,
            key_id=key_id,
            organization_id=organization_id,
            name=name,
            secret_hash=hash_key(text),
            tags=kept,
        )
        await record(
            connection,
            actor,
            "create",
            "provisioner_key",
            key_id,
            target=name,
            after={"name": name, "tags": kept},
            organization_id=organization_id,
        )
    return text


async def delete_key(services: Services, actor: Actor, organization_id: UUID, name: str) -> None:
    """Remove a key; provisioners that use it are cut off. Raises NotFound."""
    async with transaction(services.pool) as connection:
        row = await queries.delete_key(connection, organization_id, name)
        if row is None:
            raise NotFound
        await record(
            connection,
            actor,
            "delete",
            "provisioner_key",
            row.id,
            target=row.name,
            before={"name": row.name, "tags": dict(row.tags)},
            organization_id=organization_id,
        )
