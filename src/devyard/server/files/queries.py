"""SQL of uploaded files."""

from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.wire.errors import NotFound


class FileInfo(msgspec.Struct, frozen=True):
    """A file without its content."""

    id: UUID
    created_by: UUID
    sha256: str
    mimetype: str
    size_bytes: int


async def insert_file(
    connection: Connection, *, file_id: UUID, created_by: UUID, sha256: str, mimetype: str, data: bytes
) -> bool:
    """A new file; False where its owner has uploaded the same bytes before."""
    return bool(
        await connection.fetchval(
            """-- files.insert_file
            INSERT INTO files (id, created_by, sha256, mimetype, data) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (created_by, sha256) DO NOTHING RETURNING true
            """,
            file_id,
            created_by,
            sha256,
            mimetype,
            data,
        )
    )


async def touch_file(connection: Connection, created_by: UUID, sha256: str) -> UUID | None:
    """The id of a user's file by its hash; it counts as uploaded again, so that the retention spares it."""
    found: UUID | None = await connection.fetchval(
        """-- files.touch_file
        UPDATE files SET last_uploaded_at = now() WHERE created_by = $1 AND sha256 = $2 RETURNING id
        """,
        created_by,
        sha256,
    )
    return found


async def get_file_info(executor: Executor, file_id: UUID) -> FileInfo:
    """A file by id.

    Raises:
        NotFound: there is none.
    """
    record = await executor.fetchrow(
        """-- files.get_file_info
        SELECT id, created_by, sha256, mimetype, octet_length(data) AS size_bytes FROM files WHERE id = $1
        """,
        file_id,
    )
    if record is None:
        raise NotFound
    return FileInfo(**record)


async def get_file_part(executor: Executor, file_id: UUID, offset: int, size: int) -> bytes:
    """A part of a file; empty at and after its end."""
    found: bytes | None = await executor.fetchval(
        """-- files.get_file_part
        SELECT substr(data, $2::int + 1, $3::int) FROM files WHERE id = $1
        """,
        file_id,
        offset,
        size,
    )
    return found or b""
