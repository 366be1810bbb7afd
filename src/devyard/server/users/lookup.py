"""Finds the user that a path names: `me`, an id, or a user name. What one may not see is not there."""

from devyard.server.access.rules import Actor, check
from devyard.server.db.pool import Executor
from devyard.server.http.ids import read_id
from devyard.server.users import queries
from devyard.server.users.queries import UserRow
from devyard.wire.errors import NotFound


async def load_user(executor: Executor, actor: Actor, text: str, permission: str = "user:read") -> UserRow:
    """The user whom `text` names, for an actor who may do `permission` to that user.

    Raises:
        NotFound: nobody, or nobody whom the actor may see. Forbidden: seen, but not for this.
    """
    if text == "me":
        row = await queries.get_user(executor, actor.user_id)
    elif user_id := read_id(text):
        row = await queries.get_user(executor, user_id)
    else:
        row = await queries.get_user_by_name(executor, text[:256])
    if row is None:
        raise NotFound
    check(actor, permission, owner_id=row.id)
    return row
