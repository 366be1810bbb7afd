"""Deny by default: every route declares who may call it, and this guard holds it to that.

`opt={"permission": …}` is `public`, `signed_in`, `agent`, `provisioner`, or `resource:action` (access/rules.py).
`check_routes` refuses to start an application with a route that declares nothing. For `agent` and `provisioner`
the guard asks the authenticator of that kind, registered by `app.py`; a kind without one answers 401.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute, WebSocketRoute

from devyard.server.access.rules import Actor, decide_reach
from devyard.server.http.csrf import HEADER as CSRF_HEADER
from devyard.server.http.csrf import SAFE_METHODS, check_csrf, check_origin
from devyard.server.http.errors import INFO
from devyard.server.http.limits import AttemptLimit
from devyard.server.http.signin import KeyUses, Presented, read_presented, sign_in
from devyard.server.services import Services
from devyard.server.users.passwords import Passwords
from devyard.server.users.refusals import Refusals
from devyard.wire.errors import Forbidden, NotFound, Unauthenticated

PERMISSION = "permission"
PUBLIC, SIGNED_IN, AGENT, PROVISIONER = "public", "signed_in", "agent", "provisioner"
KINDS = frozenset({PUBLIC, SIGNED_IN, AGENT, PROVISIONER})
ACTOR = "devyard.actor"
PRINCIPAL = "devyard.principal"
UPLOADS_AT_ONCE = 3
"""Uploads are in memory while they are checked; the others wait."""

SCOPE_PERMISSIONS: Mapping[str, frozenset[str]] = {
    "application_connect": frozenset({"workspace:application_connect", "user:read"}),
}
"""What a token of a narrowed scope may still do; a scope that is not listed narrows to nothing."""

Authenticator = Callable[[ASGIConnection[Any, Any, Any, Any], Services, Presented | None], Awaitable[object]]
"""Answers who an agent or a provisioner is, or raises Unauthenticated."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What the guard and the sign-in routes share; one per application."""

    services: Services
    uses: KeyUses = field(default_factory=KeyUses)
    login_limit: AttemptLimit = field(default_factory=AttemptLimit)
    refusals: Refusals = field(default_factory=Refusals)
    passwords: Passwords = field(default_factory=Passwords)
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS_AT_ONCE))
    monotonic: Callable[[], float] = time.monotonic
    authenticators: Mapping[str, Authenticator] = field(default_factory=dict)


def needs(permission: str) -> dict[str, str]:
    """The `opt` of a route: who may call it."""
    return {PERMISSION: permission}


async def guard_permission(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Sign in and check the route's permission; leaves the actor in the scope."""
    permission = str(handler.opt.get(PERMISSION, ""))
    if permission == PUBLIC:
        return
    gate: Gate = connection.app.state.gate
    scope: Any = connection.scope
    presented = read_presented(connection)
    if permission in (AGENT, PROVISIONER):
        authenticate = gate.authenticators.get(permission)
        if authenticate is None:
            raise Unauthenticated("Nobody can sign in here.")
        scope[PRINCIPAL] = await authenticate(connection, gate.services, presented)
        return
    services = gate.services
    info = scope[INFO]
    actor = await sign_in(services.pool, gate.uses, presented, info, services.now())
    if presented and presented.by == "cookie":
        _check_cookie_use(connection, presented.text, services.settings.access_url)
    check_route(actor, permission, has_target=bool(connection.path_params))
    scope[ACTOR] = actor


def check_route(actor: Actor, permission: str, *, has_target: bool) -> None:
    """Refuse what neither the roles of the actor nor the scope of the token could ever allow.

    Raises:
        Forbidden: as a rule. NotFound: the route reads one thing, which must not be known to exist.
    """
    allowed = SCOPE_PERMISSIONS.get(actor.scope, frozenset())
    if actor.scope != "all" and permission not in allowed:
        raise Forbidden("The scope of this token does not allow that. Use another token.")
    if permission == SIGNED_IN or decide_reach(actor, permission) != "none":
        return
    resource, _, action = permission.partition(":")
    if action == "read" and has_target:
        raise NotFound
    raise Forbidden(f"Your roles do not allow you to {action.replace('_', ' ')} {resource.replace('_', ' ')}s.")


def check_routes(app: Litestar) -> None:
    """Refuse an application with a route that does not say who may call it.

    Raises:
        RuntimeError: names each such route.
    """
    missing = [f"{handler} at {path}" for path, handler in list_handlers(app) if not is_declared(handler)]
    if missing:
        raise RuntimeError(f"These routes declare no permission: {', '.join(missing)}")


def is_declared(handler: BaseRouteHandler) -> bool:
    """Whether a route says who may call it."""
    permission = str(handler.opt.get(PERMISSION, ""))
    resource, colon, action = permission.partition(":")
    return permission in KINDS or bool(resource and colon and action)


def list_handlers(app: Litestar) -> list[tuple[str, BaseRouteHandler]]:
    """Every handler with its path, but for those that the framework adds (OPTIONS)."""
    found: list[tuple[str, BaseRouteHandler]] = []
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found += [(route.path, h) for h in route.route_handlers if h.http_methods != {"OPTIONS"}]
        elif isinstance(route, WebSocketRoute):
            found.append((route.path, route.route_handler))
    return found


async def provide_actor(scope: Any) -> Actor:
    """The signed-in actor of a request, for handlers that ask for `actor`."""
    actor: Actor = scope[ACTOR]
    return actor


async def provide_principal(scope: Any) -> Any:
    """Who the agent or provisioner is, for handlers that ask for `principal`."""
    return scope[PRINCIPAL]


def _check_cookie_use(connection: ASGIConnection[Any, Any, Any, Any], token: str, access_url: str) -> None:
    scope: Any = connection.scope
    if scope["type"] == "websocket":
        check_origin(connection.headers.get("origin"), connection.headers.get("host", ""), access_url)
    elif scope["method"] not in SAFE_METHODS:
        check_csrf(token, connection.headers.get(CSRF_HEADER, ""))
