"""SQL that reads workspaces: the list as stamps, and whole workspaces with their latest build.

Called by the workspace actions. The list's statement answers, for a page, each workspace's id and *stamp*: the row
versions (`xmin`) and names that its JSON is made of, permission and filter included. A process that has rendered
that stamp before needs nothing more; the rest is fetched by one `list_workspaces`. docs/design/workspace-list.md
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.builds.queries import BUILD_COLUMNS, BUILD_JOINS, BuildRow, build_from
from devyard.server.db.pool import Executor, keyring_of
from devyard.server.encryption.keyring import Keyring
from devyard.server.http.ids import read_id
from devyard.server.workspaces.filters import Condition
from devyard.wire.enums import AutomaticUpdates


class WorkspaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace with its latest build."""

    id: UUID
    name: str
    created_at: datetime
    updated_at: datetime
    organization_name: str
    autostart_schedule: str | None
    ttl_ms: int | None
    automatic_updates: AutomaticUpdates
    favorite: bool
    last_used_at: datetime
    dormant_at: datetime | None
    deleting_at: datetime | None
    deleted_at: datetime | None
    active_version_id: UUID
    allow_user_cancel_workspace_jobs: bool
    require_active_version: bool
    build: BuildRow


_OWN_COLUMNS = """w.id, w.name, w.created_at, w.updated_at, g.name AS organization_name, w.autostart_schedule,
    w.ttl_ms, w.automatic_updates, w.favorite, w.last_used_at, w.dormant_at, w.deleting_at, w.deleted_at,
    t.active_version_id, t.allow_user_cancel_workspace_jobs, t.require_active_version"""
_SELECT = f"""SELECT {_OWN_COLUMNS}, {BUILD_COLUMNS}
    FROM workspaces w JOIN workspace_builds b ON b.id = w.latest_build_id {BUILD_JOINS}
    JOIN organizations g ON g.id = w.organization_id"""  # noqa: S608  (constant column names)
_FIELDS = tuple(field for field in WorkspaceRow.__struct_fields__ if field != "build")


async def list_workspaces(connection: Executor, ids: Sequence[UUID]) -> dict[UUID, WorkspaceRow]:
    """Whole workspaces by id, deleted ones too."""
    records = await connection.fetch(f"-- workspaces.list_workspaces\n{_SELECT} WHERE w.id = ANY($1)", list(ids))
    keyring = keyring_of(connection)
    return {record["id"]: _workspace_from(record, keyring) for record in records}


async def get_workspace(connection: Executor, workspace_id: UUID) -> WorkspaceRow | None:
    """One workspace, deleted or not."""
    record = await connection.fetchrow(f"-- workspaces.get_workspace\n{_SELECT} WHERE w.id = $1", workspace_id)
    return _workspace_from(record, keyring_of(connection)) if record else None


async def get_workspace_by_name(
    connection: Executor, owner_id: UUID, name: str, *, with_deleted: bool
) -> WorkspaceRow | None:
    """A user's workspace by name; of deleted ones with that name the last, and only if there is no living one."""
    record = await connection.fetchrow(
        f"""-- workspaces.get_workspace_by_name
        {_SELECT} WHERE w.owner_id = $1 AND lower(w.name) = lower($2) AND ($3 OR w.deleted_at IS NULL)
        ORDER BY w.deleted_at DESC NULLS FIRST LIMIT 1
        """,
        owner_id,
        name,
        with_deleted,
    )
    return _workspace_from(record, keyring_of(connection)) if record else None


class Stamped(msgspec.Struct, frozen=True):
    """A workspace on a page, and what its JSON depends on."""

    id: UUID
    stamp: tuple[Any, ...]


_STAMP = """w.id, w.xmin AS w_version, b.xmin AS b_version, j.xmin AS j_version, t.xmin AS t_version,
    g.xmin AS g_version, v.name AS v_name, o.username, o.avatar_url, i.username AS i_name, d.name AS d_name,
    (SELECT string_agg(a.xmin::text, ' ') FROM workspace_agents a
      WHERE a.build_id = b.id) AS agents"""

_PAGE = """WITH page AS (
        {before}SELECT w.id, count(*) OVER () AS total, w.favorite AND w.owner_id = $1 AS is_pinned,
               lower(o.username) COLLATE "C" AS owner, lower(w.name) COLLATE "C" AS name
        FROM workspaces w
        JOIN users o ON o.id = w.owner_id{joins}
        WHERE w.deleted_at IS NULL AND ($2 OR w.owner_id = $1){conditions}
        {behind}ORDER BY is_pinned DESC, owner, name, id LIMIT $3 OFFSET $4
    )
    SELECT page.total, {stamp}
    FROM page JOIN workspaces w ON w.id = page.id JOIN workspace_builds b ON b.id = w.latest_build_id {build_joins}
    JOIN organizations g ON g.id = w.organization_id
    ORDER BY page.is_pinned DESC, page.owner, page.name, page.id"""


_BEFORE = "SELECT * FROM ("
_BEHIND = """) found WHERE (NOT is_pinned, owner, name, id) > (
            SELECT NOT (a.favorite AND a.owner_id = $1), lower(ao.username) COLLATE "C",
                   lower(a.name) COLLATE "C", a.id
            FROM workspaces a JOIN users ao ON ao.id = a.owner_id WHERE a.id = {0})
        """
"""What lies behind a workspace in the list's order; the count stays that of the whole list."""


async def list_stamps(
    connection: Executor,
    *,
    user_id: UUID,
    can_see_all: bool,
    conditions: Sequence[Condition],
    limit: int,
    offset: int,
    after_id: UUID | None = None,
) -> tuple[list[Stamped], int | None]:
    """A page of the workspaces that a user may see, with the count over all pages (None on an empty page).

    `after_id` continues behind that workspace, whether it still is in the list or not.
    """
    arguments: list[Any] = [user_id, can_see_all, limit, offset]
    parts: list[str] = []
    joins: dict[str, None] = {}
    for condition in conditions:
        names = []
        for value in condition.values:
            arguments.append(value)
            names.append(f"${len(arguments)}")
        parts.append(" AND " + condition.sql.format(*names))
        joins.update(dict.fromkeys(condition.joins))
    behind = ""
    if after_id is not None:
        arguments.append(after_id)
        behind = _BEHIND.format(f"${len(arguments)}")
    sql = _PAGE.format(
        before=_BEFORE if behind else "",
        behind=behind,
        joins="".join(f"\n        {join}" for join in joins),
        conditions="".join(parts),
        stamp=_STAMP,
        build_joins=BUILD_JOINS,
    )
    records = await connection.fetch(f"-- workspaces.list_stamps\n    {sql}", *arguments)
    if not records:
        return [], None
    rows = [tuple(record) for record in records]
    return [Stamped(id=row[1], stamp=row[2:]) for row in rows], rows[0][0]


async def get_stamp(connection: Executor, workspace_id: UUID) -> Stamped | None:
    """The stamp of one workspace, deleted or not."""
    record = await connection.fetchrow(
        f"""-- workspaces.get_stamp
        SELECT {_STAMP} FROM workspaces w JOIN workspace_builds b ON b.id = w.latest_build_id {BUILD_JOINS}
        JOIN organizations g ON g.id = w.organization_id WHERE w.id = $1
        """,  # noqa: S608
        workspace_id,
    )
    row = tuple(record) if record else None
    return Stamped(id=row[0], stamp=row[1:]) if row else None


def _workspace_from(record: Any, keyring: Keyring) -> WorkspaceRow:
    return WorkspaceRow(build=build_from(record, keyring), **{field: record[field] for field in _FIELDS})


async def get_organization_id(connection: Executor, text: str) -> UUID | None:
    """The organization that a path names: an id, a name, or `default`."""
    organization_id: UUID | None = await connection.fetchval(
        """-- workspaces.get_organization_id
        SELECT id FROM organizations
        WHERE id = $1 OR lower(name) = lower($2) OR ($2 = 'default' AND is_default)
        """,
        read_id(text),
        text,
    )
    return organization_id
