"""Workspaces as encoded JSON, kept per process for as long as their stamp stays the same.

Built once by app.py, called by the list route. Invariant: what is kept is only used for the stamp that the
database has just answered with, so that no other process's write is ever missed; bounded by bytes, least recently
used first. docs/design/workspace-list.md
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from devyard.server.access.rules import Actor, decide_reach
from devyard.server.http.paging import Page
from devyard.server.jobs import queries as job_queries
from devyard.server.jobs.matching import decide_matched, load_matched
from devyard.server.provisioners.queries import list_candidates
from devyard.server.services import Services
from devyard.server.workspaces import queries, rules
from devyard.server.workspaces.filters import Condition
from devyard.server.workspaces.queries import Stamped, WorkspaceRow
from devyard.server.workspaces.views import decide_valid_until, workspace_view
from devyard.wire.jobs import MatchedProvisioners
from devyard.wire.workspaces import Workspace

MAX_BYTES = 64 << 20

_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """A rendered workspace; right for this stamp until `valid_until` (None: for ever)."""

    stamp: tuple[Any, ...]
    valid_until: datetime | None
    body: bytes


class Renderer:
    """Renders workspaces for their readers."""

    def __init__(self, services: Services, *, max_bytes: int = MAX_BYTES) -> None:
        self._services = services
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[UUID, bool], Kept] = OrderedDict()
        self._owners: dict[UUID, UUID] = {}

    async def render_page(self, actor: Actor, conditions: Sequence[Condition], page: Page) -> bytes:
        """The body of a page of the workspaces that `actor` may read."""
        pool = self._services.pool
        can_see_all = decide_reach(actor, "workspace:read") == "site"
        stamps, count = await queries.list_stamps(
            pool,
            user_id=actor.user_id,
            can_see_all=can_see_all,
            conditions=conditions,
            limit=page.limit,
            offset=page.offset,
            after_id=page.after_id,
        )
        if count is None:
            count = await self._count_behind_end(actor, conditions, page, can_see_all=can_see_all)
        now = self._services.now()
        bodies = {stamped.id: self._find(stamped, actor, now) for stamped in stamps}
        missing = [stamped for stamped in stamps if bodies[stamped.id] is None]
        if missing:
            bodies.update(await self._render_missing(missing, actor, now))
        joined = b",".join(body for body in bodies.values() if body is not None)
        return b'{"workspaces":[%b],"count":%d}' % (joined, count)

    async def render(self, row: WorkspaceRow, actor: Actor) -> Workspace:
        """One workspace for a reader, with its place in the queue while it waits."""
        pool = self._services.pool
        queue = await load_queue(pool, [row])
        matched = await load_matched(pool, row.build.job) if row.build.job.status == "pending" else None
        return self._view(row, actor.user_id, self._services.now(), queue, matched)

    async def _count_behind_end(
        self, actor: Actor, conditions: Sequence[Condition], page: Page, *, can_see_all: bool
    ) -> int:
        """How many there are when a page lies behind the last one."""
        if page.offset == 0 and page.after_id is None:
            return 0
        _, count = await queries.list_stamps(
            self._services.pool,
            user_id=actor.user_id,
            can_see_all=can_see_all,
            conditions=conditions,
            limit=1,
            offset=0,
        )
        return count or 0

    def _find(self, stamped: Stamped, actor: Actor, now: datetime) -> bytes | None:
        key = (stamped.id, self._owners.get(stamped.id) == actor.user_id)
        kept = self._kept.get(key)
        if kept is None or kept.stamp != stamped.stamp:
            return None
        if kept.valid_until is not None and now >= kept.valid_until:
            return None
        self._kept.move_to_end(key)
        return kept.body

    async def _render_missing(
        self, missing: Sequence[Stamped], actor: Actor, now: datetime
    ) -> dict[UUID, bytes | None]:
        rows = await queries.list_workspaces(self._services.pool, [stamped.id for stamped in missing])
        queue = await load_queue(self._services.pool, rows.values())
        matched = await load_matched_of(self._services.pool, rows)
        bodies: dict[UUID, bytes | None] = {}
        for stamped in missing:
            row = rows.get(stamped.id)
            if row is None:
                bodies[stamped.id] = None
                continue
            body = _encode(self._view(row, actor.user_id, now, queue, matched.get(row.id)))
            bodies[stamped.id] = body
            valid_until = decide_valid_until(row, now)
            if valid_until is None or valid_until > now:
                self._keep(row, actor, Kept(stamped.stamp, valid_until, body))
        return bodies

    def _keep(self, row: WorkspaceRow, actor: Actor, kept: Kept) -> None:
        owner_id = row.build.owner_id
        key = (row.id, owner_id == actor.user_id)
        old = self._kept.pop(key, None)
        self._bytes += len(kept.body) - (len(old.body) if old else 0)
        self._kept[key] = kept
        self._owners[row.id] = owner_id
        while self._bytes > self._max_bytes and self._kept:
            (dropped_id, is_own), dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.body)
            if (dropped_id, not is_own) not in self._kept:
                self._owners.pop(dropped_id, None)

    def _view(
        self,
        row: WorkspaceRow,
        user_id: UUID,
        now: datetime,
        queue: dict[UUID, tuple[int, int]],
        matched: MatchedProvisioners | None,
    ) -> Workspace:
        return workspace_view(
            row,
            user_id=user_id,
            now=now,
            allow_renames=rules.are_renames_allowed(self._services.settings),
            queue=queue.get(row.build.job.id, (0, 0)),
            matched=matched,
        )


async def load_matched_of(
    pool: asyncpg.Pool, rows: Mapping[UUID, WorkspaceRow]
) -> dict[UUID, MatchedProvisioners]:
    """Who could take the jobs of those workspaces that wait, by workspace; one query for each organization."""
    waiting = [row for row in rows.values() if row.build.job.status == "pending"]
    candidates = {
        organization_id: await list_candidates(pool, organization_id)
        for organization_id in {row.build.organization_id for row in waiting}
    }
    return {row.id: decide_matched(row.build.job, candidates[row.build.organization_id]) for row in waiting}


async def load_queue(pool: asyncpg.Pool, rows: Any) -> dict[UUID, tuple[int, int]]:
    """Place and length of the queue for those of the rows whose job waits."""
    waiting = [row.build.job.id for row in rows if row.build.job.status == "pending"]
    return await job_queries.list_queue_positions(pool, waiting) if waiting else {}
