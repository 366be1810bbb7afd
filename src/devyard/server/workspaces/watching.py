"""Live views of one workspace. Called by the watch routes.

A watcher wakes on `workspace:<id>`, and where nothing happens on its own: statuses of agents change by time alone.
What is sent is the whole workspace, whenever it differs from what was sent last.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.access.rules import Actor, is_allowed
from devyard.server.builds import queries as build_queries
from devyard.server.builds import rules as build_rules
from devyard.server.db.wakeups import wait_for
from devyard.server.services import Services
from devyard.server.tokens.queries import get_signed_in
from devyard.server.workspaces import queries
from devyard.server.workspaces.queries import WorkspaceRow
from devyard.server.workspaces.rendering import Renderer
from devyard.wire.errors import Invalid, Response

PING_S = 10.0


async def watch_workspace(
    services: Services, renderer: Renderer, actor: Actor, workspace_id: UUID
) -> AsyncIterator[tuple[str, Any]]:
    """Events (type, value): `data` with the workspace on each change, `ping` in between, `error` at its end.

    It ends with the workspace's deletion, and with the session or the permission of who watches.
    """
    sent = b""
    with services.wakeups.waiter(f"workspace:{workspace_id}") as event:
        while True:
            event.clear()
            actor_now = await _load_actor(services, actor)
            if actor_now is None:
                yield "error", Response(message="Your session has ended. Please sign in again to continue.")
                return
            row = await queries.get_workspace(services.pool, workspace_id)
            if row is None or not _can_read(actor_now, row):
                yield "error", Response(message="The workspace is gone, or you may not see it any more.")
                return
            body = msgspec.json.encode(await renderer.render(row, actor))
            digest = hashlib.sha256(body).digest()
            if digest != sent:
                sent = digest
                yield "data", msgspec.Raw(body)
            else:
                yield "ping", None
            if row.deleted_at is not None:
                yield "error", Response(message=f'The workspace "{row.name}" was deleted.')
                return
            await wait_for(event, PING_S)


async def has_mismatch(services: Services, row: WorkspaceRow) -> bool:
    """Whether a start on the version that an automatic start would take needs values from a person."""
    follows = row.automatic_updates == "always" or row.require_active_version
    version_id = row.active_version_id if follows else row.build.version_id
    if version_id == row.build.version_id:
        return False
    version = await build_queries.get_version(services.pool, version_id)
    current = await build_queries.get_version(services.pool, row.build.version_id)
    if version is None or current is None:
        return True
    if version.dynamic_parameters:
        return False  # only the form can tell, which the start works out
    values = await build_queries.list_parameters(services.pool, row.build.id)
    previous = build_rules.decide_kept_parameters(current.parameters, values)
    try:
        build_rules.decide_parameters(version.parameters, [], previous, "start")
    except Invalid:
        return True
    return False


async def _load_actor(services: Services, actor: Actor) -> Actor | None:
    """The actor with the roles of now, or None where the session has ended or the account is suspended."""
    signed_in = await get_signed_in(services.pool, actor.api_key_id)
    if signed_in is None or signed_in.expires_at <= services.now() or signed_in.status == "suspended":
        return None
    return msgspec.structs.replace(
        actor,
        site_roles=tuple(signed_in.site_roles),
        organization_ids=tuple(signed_in.organization_ids),
    )


def _can_read(actor: Actor, row: WorkspaceRow) -> bool:
    return is_allowed(
        actor,
        "workspace:read",
        owner_id=row.build.owner_id,
        organization_id=row.build.organization_id,
    )
