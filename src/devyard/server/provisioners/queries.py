"""SQL of provisioner keys and daemons."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor
from devyard.server.jobs.rules import Candidate
from devyard.wire.enums import JobStatus

ONLINE_S = 45
"""A daemon that was seen within this time counts as connected; it reports every few seconds."""


class KeyRow(msgspec.Struct, frozen=True):
    """A provisioner key; of its secret only the hash is known."""

    id: UUID
    organization_id: UUID
    name: str
    tags: Mapping[str, str]
    created_at: datetime
    secret_hash: bytes


class DaemonRow(msgspec.Struct, frozen=True, kw_only=True):
    """A provisioner that is or was connected, with the job it runs and the one before."""

    id: UUID
    organization_id: UUID
    key_id: UUID | None
    key_name: str | None
    name: str
    version: str
    api_version: str
    tags: Mapping[str, str]
    created_at: datetime
    last_seen_at: datetime
    is_online: bool
    current_job: dict[str, Any] | None
    previous_job: dict[str, Any] | None
    current_status: JobStatus | None


async def insert_key(
    connection: Connection,
    *,
    key_id: UUID,
    organization_id: UUID,
    name: str,
    secret_hash: bytes,
    tags: Mapping[str, str],
) -> None:
    """A new key."""
    await connection.execute(
        """-- provisioners.insert_key
        INSERT INTO provisioner_keys (id, organization_id, name, secret_hash, tags) VALUES ($1, $2, $3, $4, $5)
        """,
        key_id,
        organization_id,
        name,
        secret_hash,
        dict(tags),
    )


async def get_key_by_hash(executor: Executor, secret_hash: bytes) -> KeyRow | None:
    """The key with this secret; the hash of a random secret can't be guessed piece by piece."""
    record = await executor.fetchrow(
        """-- provisioners.get_key_by_hash
        SELECT id, organization_id, name, tags, created_at, secret_hash FROM provisioner_keys
        WHERE secret_hash = $1
        """,
        secret_hash,
    )
    return KeyRow(**record) if record else None


async def get_key(executor: Executor, key_id: UUID) -> KeyRow | None:
    """A key by id."""
    record = await executor.fetchrow(
        """-- provisioners.get_key
        SELECT id, organization_id, name, tags, created_at, secret_hash FROM provisioner_keys WHERE id = $1
        """,
        key_id,
    )
    return KeyRow(**record) if record else None


async def list_keys(executor: Executor, organization_id: UUID) -> list[KeyRow]:
    """The keys of an organization by name."""
    records = await executor.fetch(
        """-- provisioners.list_keys
        SELECT id, organization_id, name, tags, created_at, secret_hash FROM provisioner_keys
        WHERE organization_id = $1 ORDER BY lower(name) LIMIT 1000
        """,
        organization_id,
    )
    return [KeyRow(**record) for record in records]


async def delete_key(connection: Connection, organization_id: UUID, name: str) -> KeyRow | None:
    """Remove a key by name or id; its daemons are cut off at their next sign of life."""
    record = await connection.fetchrow(
        """-- provisioners.delete_key
        DELETE FROM provisioner_keys
        WHERE organization_id = $1 AND (lower(name) = lower($2) OR id::text = lower($2))
        RETURNING id, organization_id, name, tags, created_at, secret_hash
        """,
        organization_id,
        name,
    )
    return KeyRow(**record) if record else None


async def upsert_daemon(
    executor: Executor,
    *,
    daemon_id: UUID,
    organization_id: UUID,
    key_id: UUID | None,
    name: str,
    version: str,
    api_version: str,
    terraform_version: str,
    tags: Mapping[str, str],
) -> bool:
    """Record that a daemon is there; False where its id belongs to another organization or key."""
    return bool(
        await executor.fetchval(
            """-- provisioners.upsert_daemon
            INSERT INTO provisioner_daemons (id, organization_id, key_id, name, version, api_version,
                                             terraform_version, tags)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            ON CONFLICT (id) DO UPDATE
            SET name = excluded.name, version = excluded.version, api_version = excluded.api_version,
                terraform_version = excluded.terraform_version, tags = excluded.tags, last_seen_at = now()
            WHERE provisioner_daemons.organization_id = excluded.organization_id
              AND provisioner_daemons.key_id IS NOT DISTINCT FROM excluded.key_id
            RETURNING true
            """,
            daemon_id,
            organization_id,
            key_id,
            name,
            version,
            api_version,
            terraform_version,
            dict(tags),
        )
    )


async def touch_daemon(executor: Executor, daemon_id: UUID, key_id: UUID | None) -> bool:
    """Record a sign of life; False where the daemon's key was removed."""
    return bool(
        await executor.fetchval(
            """-- provisioners.touch_daemon
            UPDATE provisioner_daemons SET last_seen_at = now()
            WHERE id = $1 AND ($2::uuid IS NULL OR EXISTS (SELECT FROM provisioner_keys k WHERE k.id = $2))
            RETURNING true
            """,
            daemon_id,
            key_id,
        )
    )


async def leave_daemon(executor: Executor, daemon_id: UUID) -> None:
    """Record that a daemon has gone."""
    await executor.execute(
        """-- provisioners.leave_daemon
        UPDATE provisioner_daemons SET last_seen_at = now() - $2::int * interval '1 second' WHERE id = $1
        """,
        daemon_id,
        ONLINE_S,
    )


async def list_daemons(
    executor: Executor,
    organization_id: UUID,
    *,
    limit: int,
    ids: Sequence[UUID] | None = None,
    statuses: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    max_age_s: float | None = None,
) -> list[DaemonRow]:
    """Daemons of an organization, last seen first; `max_age_s` leaves out those not seen for longer."""
    records = await executor.fetch(
        """-- provisioners.list_daemons
        SELECT d.id, d.organization_id, d.key_id, k.name AS key_name, d.name, d.version, d.api_version, d.tags,
               d.created_at, d.last_seen_at, d.last_seen_at > now() - $4::int * interval '1 second' AS is_online,
               jobs.current_job, jobs.previous_job, jobs.current_job->>'status' AS current_status
        FROM provisioner_daemons d
        LEFT JOIN provisioner_keys k ON k.id = d.key_id
        LEFT JOIN LATERAL (
            SELECT (array_agg(job ORDER BY created_at DESC) FILTER (WHERE is_active))[1] AS current_job,
                   (array_agg(job ORDER BY created_at DESC) FILTER (WHERE NOT is_active))[1] AS previous_job
            FROM (
                SELECT j.created_at, j.status IN ('running', 'canceling') AS is_active,
                       jsonb_build_object('id', j.id, 'status', j.status,
                                          'template_name', coalesce(t.name, ''),
                                          'template_icon', coalesce(t.icon, ''),
                                          'template_display_name', coalesce(t.display_name, '')) AS job
                FROM provisioner_jobs j
                JOIN template_versions v ON v.id = j.template_version_id
                LEFT JOIN templates t ON t.id = v.template_id
                WHERE j.worker_id = d.id ORDER BY j.created_at DESC LIMIT 2
            ) recent
        ) jobs ON true
        WHERE d.organization_id = $1 AND ($2::uuid[] IS NULL OR d.id = ANY($2)) AND d.tags @> $5::jsonb
          AND ($6::float8 IS NULL OR d.last_seen_at > now() - $6 * interval '1 second')
          AND ($7::text[] IS NULL
               OR CASE WHEN d.last_seen_at <= now() - $4::int * interval '1 second' THEN 'offline'
                       WHEN jobs.current_job IS NOT NULL THEN 'busy' ELSE 'idle' END = ANY($7))
        ORDER BY d.last_seen_at DESC, d.id LIMIT $3
        """,
        organization_id,
        None if ids is None else list(ids),
        limit,
        ONLINE_S,
        dict(tags or {}),
        max_age_s,
        None if statuses is None else list(statuses),
    )
    return [DaemonRow(**record) for record in records]


async def list_candidates(executor: Executor, organization_id: UUID) -> list[Candidate]:
    """The daemons of an organization that were seen in the last week, last seen first, for matching with jobs."""
    records = await executor.fetch(
        """-- provisioners.list_candidates
        SELECT id, name, tags, last_seen_at, last_seen_at > now() - $2::int * interval '1 second' AS is_online
        FROM provisioner_daemons
        WHERE organization_id = $1 AND last_seen_at > now() - interval '7 days'
        ORDER BY last_seen_at DESC LIMIT 1000
        """,
        organization_id,
        ONLINE_S,
    )
    return [Candidate(**record) for record in records]
