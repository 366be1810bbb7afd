"""What every replica does once when it starts; idempotent when several start together."""

from uuid import UUID, uuid4

import asyncpg

from devyard.server.deployment import queries

DEFAULT_ORGANIZATION = "default"


async def make_deployment(pool: asyncpg.Pool) -> tuple[UUID, UUID]:
    """The ids of the deployment and of its default organization, made where they are missing."""
    await queries.insert_deployment(pool, uuid4())
    await queries.insert_default_organization(pool, uuid4(), DEFAULT_ORGANIZATION, "Default")
    return await queries.load_deployment_id(pool), await queries.load_default_organization_id(pool)
