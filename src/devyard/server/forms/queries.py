"""SQL of forms on their way between processes, and the mark of versions whose parameters are dynamic."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor


class WaitingRow(msgspec.Struct, frozen=True):
    """A claimed request."""

    id: UUID
    template_version_id: UUID
    owner_id: UUID
    workspace_id: UUID | None
    inputs: dict[str, str]
    previous: dict[str, str]


async def insert_request(
    connection: Connection,
    *,
    request_id: UUID,
    organization_id: UUID,
    tags: Mapping[str, str],
    version_id: UUID,
    owner_id: UUID,
    workspace_id: UUID | None,
    inputs: Mapping[str, str],
    previous: Mapping[str, str],
    time_limit_s: float,
) -> None:
    """A request for whoever has a fitting provisioner."""
    await connection.execute(
        """-- forms.insert_request
        INSERT INTO form_requests (id, organization_id, tags, template_version_id, owner_id, workspace_id, inputs,
                                   previous, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
        """,
        request_id,
        organization_id,
        dict(tags),
        version_id,
        owner_id,
        workspace_id,
        dict(inputs),
        dict(previous),
        time_limit_s,
    )


async def claim_request(executor: Executor, organization_id: UUID, tags: Mapping[str, str]) -> WaitingRow | None:
    """The oldest waiting request that a provisioner with these tags may take, now claimed."""
    record = await executor.fetchrow(
        """-- forms.claim_request
        UPDATE form_requests AS r SET claimed_at = now()
        WHERE r.id = (
            SELECT id FROM form_requests
            WHERE claimed_at IS NULL AND expires_at > now() AND organization_id = $1
              AND CASE WHEN tags = '{}' THEN $2::jsonb = '{}' ELSE tags <@ $2::jsonb END
            ORDER BY created_at FOR UPDATE SKIP LOCKED LIMIT 1
        )
        RETURNING id, template_version_id, owner_id, workspace_id, inputs, previous
        """,
        organization_id,
        dict(tags),
    )
    return WaitingRow(**record) if record else None


async def release_request(executor: Executor, request_id: UUID) -> None:
    """Put a request back whose provisioner has gone."""
    await executor.execute(
        """-- forms.release_request
        UPDATE form_requests SET claimed_at = NULL WHERE id = $1 AND answer IS NULL
        """,
        request_id,
    )


async def update_answer(connection: Connection, request_id: UUID, answer: bytes) -> None:
    """The answer, for the process that asked."""
    await connection.execute(
        """-- forms.update_answer
        UPDATE form_requests SET answer = $2 WHERE id = $1
        """,
        request_id,
        answer,
    )


async def get_answer(executor: Executor, request_id: UUID) -> bytes | None:
    """The answer, once it is there."""
    answer: bytes | None = await executor.fetchval(
        """-- forms.get_answer
        SELECT answer FROM form_requests WHERE id = $1
        """,
        request_id,
    )
    return answer


async def delete_request(executor: Executor, request_id: UUID) -> None:
    """The asker has its answer, or has given up."""
    await executor.execute(
        """-- forms.delete_request
        DELETE FROM form_requests WHERE id = $1
        """,
        request_id,
    )


async def delete_expired(executor: Executor) -> None:
    """What askers left behind that ended before they could."""
    await executor.execute(
        """-- forms.delete_expired
        DELETE FROM form_requests WHERE expires_at < now() - interval '10 seconds'
        """
    )


async def update_dynamic(connection: Connection, version_id: UUID, dynamic: bool) -> None:
    """Keep whether a version's parameters depend on the user or on each other."""
    await connection.execute(
        """-- forms.update_dynamic
        UPDATE template_versions SET dynamic_parameters = $2 WHERE id = $1
        """,
        version_id,
        dynamic,
    )
