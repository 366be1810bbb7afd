"""The tags that a template declares by `coder_workspace_tags`, kept with the version for its builds' jobs.

Called when an import is completed. builds/versions.merge_tags says how they meet the version's own.
"""

from collections.abc import Mapping
from uuid import UUID

from devyard.server.db.pool import Connection
from devyard.server.jobs.rules import normalize_tags


async def keep_workspace_tags(connection: Connection, version_id: UUID, tags: Mapping[str, str]) -> None:
    """Keep what the import has evaluated from the parameters' defaults. Raises Invalid: too many, or too long."""
    await connection.execute(
        """-- jobs.keep_workspace_tags
        UPDATE template_versions SET workspace_tags = $2 WHERE id = $1
        """,
        version_id,
        normalize_tags(tags),
    )
