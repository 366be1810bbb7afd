"""Whose things a path means: `me`, a user's id or a user's name. Called by the routes of workspaces and builds."""

from uuid import UUID

from devyard.server.access.rules import Actor
from devyard.server.db.pool import Executor
from devyard.server.http.ids import read_id
from devyard.wire.errors import NotFound


async def load_user_id(executor: Executor, actor: Actor, text: str) -> UUID:
    """The id of the user that a path names; what the actor may do there is checked on the thing itself.

    Raises:
        NotFound: there is no such user.
    """
    if text == "me":
        return actor.user_id
    user_id: UUID | None = await executor.fetchval(
        """-- workspaces.get_user_id
        SELECT id FROM users WHERE (id = $1 OR lower(username) = lower($2)) AND deleted_at IS NULL
        """,
        read_id(text),
        text,
    )
    if user_id is None:
        raise NotFound
    return user_id
