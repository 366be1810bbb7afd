"""SQL of template versions. Lists and objects in them are stored as JSON, read whole with their version."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Connection, Executor, keyring_of
from devyard.server.encryption.places import JOB_RESULT, JOB_VALUES, PLANNED, VARIABLE_VALUES
from devyard.server.jobs.queries import JOB_COLUMNS_PREFIXED, JobRow, job_from


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version with its job, its author and its template's names."""

    id: UUID
    organization_id: UUID
    template_id: UUID | None
    template_name: str
    template_display_name: str
    template_icon: str
    name: str
    message: str
    readme: str
    archived: bool
    warnings: Sequence[str]
    created_at: datetime
    updated_at: datetime
    created_by: UUID
    created_by_username: str
    created_by_name: str
    created_by_avatar_url: str
    worker_name: str
    job: JobRow


class VersionContent(msgspec.Struct, frozen=True, kw_only=True):
    """What an import has found in a version."""

    parameters: list[dict[str, Any]]
    variables: list[dict[str, Any]]
    variable_values: list[dict[str, Any]]
    presets: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    agent_resources: dict[str, str]
    external_auths: list[str]


_COLUMNS = f"""v.id, v.organization_id, v.template_id, coalesce(t.name, '') AS template_name,
               coalesce(t.display_name, '') AS template_display_name, coalesce(t.icon, '') AS template_icon,
               v.name, v.message, v.readme, v.archived, v.warnings, v.created_at, v.updated_at, v.created_by,
               u.username AS created_by_username, u.name AS created_by_name,
               u.avatar_url AS created_by_avatar_url, coalesce(d.name, '') AS worker_name,
               {JOB_COLUMNS_PREFIXED}"""
_JOINS = """template_versions v
        JOIN provisioner_jobs j ON j.id = v.job_id
        JOIN users u ON u.id = v.created_by
        LEFT JOIN templates t ON t.id = v.template_id
        LEFT JOIN provisioner_daemons d ON d.id = j.worker_id"""
_OWN = frozenset(VersionRow.__struct_fields__) - {"job"}


def _row(record: Mapping[str, Any]) -> VersionRow:
    return VersionRow(**{name: record[name] for name in _OWN}, job=job_from(record))


async def get_version(executor: Executor, version_id: UUID) -> VersionRow | None:
    """A version by id."""
    record = await executor.fetchrow(
        f"""-- templates.get_version
        SELECT {_COLUMNS} FROM {_JOINS} WHERE v.id = $1
        """,  # noqa: S608  (constant text, here and below)
        version_id,
    )
    return _row(record) if record else None


async def get_version_by_name(executor: Executor, template_id: UUID, name: str) -> VersionRow | None:
    """A template's version by name."""
    record = await executor.fetchrow(
        f"""-- templates.get_version_by_name
        SELECT {_COLUMNS} FROM {_JOINS} WHERE v.template_id = $1 AND v.name = $2
        """,  # noqa: S608
        template_id,
        name,
    )
    return _row(record) if record else None


async def get_previous_version(executor: Executor, template_id: UUID, before: datetime) -> VersionRow | None:
    """The template's newest version that is older than `before`."""
    record = await executor.fetchrow(
        f"""-- templates.get_previous_version
        SELECT {_COLUMNS} FROM {_JOINS} WHERE v.template_id = $1 AND v.created_at < $2
        ORDER BY v.created_at DESC LIMIT 1
        """,  # noqa: S608
        template_id,
        before,
    )
    return _row(record) if record else None


async def list_versions(
    executor: Executor,
    template_id: UUID,
    *,
    with_archived: bool,
    after_id: UUID | None,
    limit: int,
    offset: int,
) -> list[VersionRow]:
    """A page of a template's versions, oldest first."""
    records = await executor.fetch(
        f"""-- templates.list_versions
        SELECT {_COLUMNS} FROM {_JOINS}
        WHERE v.template_id = $1 AND ($2 OR NOT v.archived)
          AND ($3::uuid IS NULL OR (v.created_at, v.id) > (SELECT a.created_at, a.id FROM template_versions a
                                                           WHERE a.id = $3))
        ORDER BY v.created_at, v.id LIMIT $4 OFFSET $5
        """,  # noqa: S608
        template_id,
        with_archived,
        after_id,
        limit,
        offset,
    )
    return [_row(record) for record in records]


async def get_content(executor: Executor, version_id: UUID) -> VersionContent | None:
    """What the import of a version has found."""
    record = await executor.fetchrow(
        """-- templates.get_content
        SELECT parameters, variables, variable_values, presets, resources, agent_resources, external_auths
        FROM template_versions WHERE id = $1
        """,
        version_id,
    )
    if record is None:
        return None
    keyring = keyring_of(executor)
    opened = {
        place.column: keyring.open_json(place, version_id, record[place.column])
        for place in (VARIABLE_VALUES, PLANNED)
    }
    return VersionContent(**{**record, **opened})


async def insert_version(
    connection: Connection,
    *,
    version_id: UUID,
    organization_id: UUID,
    template_id: UUID | None,
    name: str,
    message: str,
    job_id: UUID,
    created_by: UUID,
    variable_values: Sequence[Mapping[str, Any]],
) -> None:
    """A new version, before its import."""
    await connection.execute(
        """-- templates.insert_version
        INSERT INTO template_versions (id, organization_id, template_id, name, message, job_id, created_by,
                                       variable_values)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        version_id,
        organization_id,
        template_id,
        name,
        message,
        job_id,
        created_by,
        keyring_of(connection).seal_json(VARIABLE_VALUES, version_id, [dict(value) for value in variable_values]),
    )


async def update_content(
    connection: Connection,
    version_id: UUID,
    *,
    readme: str,
    parameters: Sequence[object],
    variables: Sequence[object],
    presets: Sequence[object],
    resources: Sequence[object],
    agent_resources: Mapping[str, str],
    external_auths: Sequence[str],
    warnings: Sequence[str],
) -> None:
    """Keep what an import has found."""
    await connection.execute(
        """-- templates.update_content
        UPDATE template_versions
        SET readme = $2, parameters = $3, variables = $4, presets = $5, resources = $6, agent_resources = $7,
            external_auths = $8, warnings = $9, updated_at = now()
        WHERE id = $1
        """,
        version_id,
        readme,
        list(parameters),
        list(variables),
        list(presets),
        keyring_of(connection).seal_json(PLANNED, version_id, list(resources)),
        dict(agent_resources),
        list(external_auths),
        list(warnings),
    )


async def update_variable_values(
    connection: Connection, version_id: UUID, values: Sequence[Mapping[str, Any]]
) -> None:
    """Set the values of a version's variables."""
    await connection.execute(
        """-- templates.update_variable_values
        UPDATE template_versions SET variable_values = $2 WHERE id = $1
        """,
        version_id,
        keyring_of(connection).seal_json(VARIABLE_VALUES, version_id, [dict(value) for value in values]),
    )


async def update_version(connection: Connection, version_id: UUID, name: str, message: str) -> None:
    """Set a version's name and message."""
    await connection.execute(
        """-- templates.update_version
        UPDATE template_versions SET name = $2, message = $3, updated_at = now() WHERE id = $1
        """,
        version_id,
        name,
        message,
    )


async def update_archived(connection: Connection, version_id: UUID, archived: bool) -> None:
    """Hide a version, or show it again."""
    await connection.execute(
        """-- templates.update_archived
        UPDATE template_versions SET archived = $2, updated_at = now() WHERE id = $1
        """,
        version_id,
        archived,
    )


async def archive_unused(connection: Connection, template_id: UUID, *, is_every: bool) -> list[tuple[UUID, str]]:
    """Hide failed versions, with `is_every` all that no latest build uses; answers (id, name) of each."""
    records = await connection.fetch(
        """-- templates.archive_unused
        UPDATE template_versions v SET archived = true, updated_at = now()
        FROM provisioner_jobs j, templates t
        WHERE v.template_id = $1 AND NOT v.archived AND j.id = v.job_id AND t.id = v.template_id
          AND t.active_version_id <> v.id AND j.status NOT IN ('pending', 'running', 'canceling')
          AND ($2 OR j.status IN ('failed', 'canceled'))
          AND NOT EXISTS (SELECT FROM workspaces w JOIN workspace_builds b ON b.id = w.latest_build_id
                          WHERE w.deleted_at IS NULL AND b.template_version_id = v.id)
        RETURNING v.id, v.name
        """,
        template_id,
        is_every,
    )
    return [(record["id"], record["name"]) for record in records]


async def adopt_version(connection: Connection, version_id: UUID, template_id: UUID) -> bool:
    """Give a version without a template to one; False where it has one."""
    return bool(
        await connection.fetchval(
            """-- templates.adopt_version
            UPDATE template_versions SET template_id = $2, updated_at = now()
            WHERE id = $1 AND template_id IS NULL RETURNING true
            """,
            version_id,
            template_id,
        )
    )


async def get_input(executor: Executor, job_id: UUID) -> dict[str, Any]:
    """What a job was queued with."""
    record = await executor.fetchrow(
        """-- templates.get_input
        SELECT input, given_values FROM provisioner_jobs WHERE id = $1
        """,
        job_id,
    )
    if record is None:
        return {}
    return {**record["input"], **keyring_of(executor).open_json(JOB_VALUES, job_id, record["given_values"])}


async def update_result(connection: Connection, job_id: UUID, result: Mapping[str, object]) -> None:
    """Keep what a dry run has found with its job."""
    await connection.execute(
        """-- templates.update_result
        UPDATE provisioner_jobs SET result = $2 WHERE id = $1
        """,
        job_id,
        keyring_of(connection).seal_json(JOB_RESULT, job_id, dict(result)),
    )


async def get_result(executor: Executor, job_id: UUID) -> dict[str, Any]:
    """What a dry run has found; empty before its end."""
    found = await executor.fetchval(
        """-- templates.get_result
        SELECT result FROM provisioner_jobs WHERE id = $1
        """,
        job_id,
    )
    result: dict[str, Any] | None = keyring_of(executor).open_json(JOB_RESULT, job_id, found)
    return result or {}
