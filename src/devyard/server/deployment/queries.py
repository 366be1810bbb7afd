"""SQL of the deployment's own row and the default organization."""

from uuid import UUID

from devyard.server.db.pool import Executor


async def insert_deployment(executor: Executor, deployment_id: UUID) -> None:
    """Give the deployment its id, unless it has one."""
    await executor.execute(
        """-- deployment.insert_deployment
        INSERT INTO deployment (id) VALUES ($1) ON CONFLICT DO NOTHING
        """,
        deployment_id,
    )


async def load_deployment_id(executor: Executor) -> UUID:
    """The deployment's id."""
    found: UUID = await executor.fetchval(
        """-- deployment.load_deployment_id
        SELECT id FROM deployment
        """
    )
    return found


async def insert_default_organization(
    executor: Executor, organization_id: UUID, name: str, display_name: str
) -> None:
    """Make the default organization, unless there is one."""
    await executor.execute(
        """-- deployment.insert_default_organization
        INSERT INTO organizations (id, name, display_name, is_default) VALUES ($1, $2, $3, true)
        ON CONFLICT DO NOTHING
        """,
        organization_id,
        name,
        display_name,
    )


async def load_default_organization_id(executor: Executor) -> UUID:
    """The id of the organization that always exists."""
    found: UUID = await executor.fetchval(
        """-- deployment.load_default_organization_id
        SELECT id FROM organizations WHERE is_default
        """
    )
    return found


async def count_migrations(executor: Executor) -> int:
    """How many migrations the database has seen."""
    count: int = await executor.fetchval(
        """-- deployment.count_migrations
        SELECT count(*) FROM schema_migrations
        """
    )
    return count
