"""Who may do what. Pure: an actor, an action, whose thing it is; a decision.

A permission is `resource:action`, for example `workspace:read`. Every route declares one (or `public` /
`signed_in`); the request edge refuses a route whose permission no role of the actor could ever grant, and
actions check the thing itself once they know whose it is. What one may not read answers 404.
"""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.errors import Forbidden, NotFound

Reach = Literal["none", "own", "organization", "site"]
"""How far a grant goes: the actor's own things, those of organizations that they are in, or all."""

OWNER = "owner"
MEMBER = "member"

# Role → permission → reach. `*` stands for every action of the resource, or every resource.
ROLES: Mapping[str, Mapping[str, Reach]] = {
    OWNER: {"*": "site"},
    MEMBER: {
        "user:read": "own",
        "user:update_personal": "own",
        "api_key:*": "own",
        "organization:read": "organization",
        "organization_member:read": "own",
        "template:read": "organization",
        "template:use": "organization",
        "file:create": "own",
        "file:read": "own",
        "workspace:*": "own",
        "provisioner_daemon:read": "none",
    },
}


class RequestInfo(msgspec.Struct, frozen=True):
    """Where a write came from, for the audit log."""

    request_id: UUID
    ip: str = ""
    user_agent: str = ""


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking: a signed-in user by a session or token."""

    user_id: UUID
    username: str
    site_roles: tuple[str, ...]
    organization_ids: tuple[UUID, ...]
    api_key_id: str = ""
    scope: str = "all"
    request: RequestInfo

    @property
    def is_owner(self) -> bool:
        """Whether the actor administers the deployment."""
        return OWNER in self.site_roles


def decide_reach(actor: Actor, permission: str) -> Reach:
    """The widest reach that the actor's roles give for a permission."""
    resource = permission.partition(":")[0]
    order: tuple[Reach, ...] = ("none", "own", "organization", "site")
    best: Reach = "none"
    for role in (*actor.site_roles, MEMBER):
        grants = ROLES.get(role, {})
        for name in ("*", f"{resource}:*", permission):
            reach = grants.get(name, "none")
            if order.index(reach) > order.index(best):
                best = reach
    return best


def is_allowed(
    actor: Actor, permission: str, *, owner_id: UUID | None = None, organization_id: UUID | None = None
) -> bool:
    """Whether the actor may do this to a thing of that owner in that organization."""
    reach = decide_reach(actor, permission)
    if reach == "site":
        return True
    if reach == "organization":
        return organization_id in actor.organization_ids or owner_id == actor.user_id
    return reach == "own" and owner_id == actor.user_id


def check(
    actor: Actor,
    permission: str,
    *,
    owner_id: UUID | None = None,
    organization_id: UUID | None = None,
    can_read: bool | None = None,
) -> None:
    """Raise unless allowed: NotFound where the actor may not even read the thing, else Forbidden."""
    if is_allowed(actor, permission, owner_id=owner_id, organization_id=organization_id):
        return
    resource, _, action = permission.partition(":")
    if can_read is None:
        can_read = action != "read" and is_allowed(
            actor, f"{resource}:read", owner_id=owner_id, organization_id=organization_id
        )
    if can_read:
        raise Forbidden(f"You may not {action.replace('_', ' ')} this {resource.replace('_', ' ')}.")
    raise NotFound
