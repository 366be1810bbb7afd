"""The API's description in OpenAPI 3.1: what the framework reads off the handlers, with what only we know added.

Called by the route of `openapi.json`, once a process. Added are the subject of each operation (the package its
handler lives in), how one signs in for it (its permission), and the shape that every error really has.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from devyard.server.http.guard import AGENT, PERMISSION, PROVISIONER, PUBLIC
from devyard.server.http.signin import COOKIE
from devyard.wire.errors import Response
from devyard.wire.provisionerlink import KEY_HEADER

SCHEMES: dict[str, dict[str, str]] = {
    "sessionToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Coder-Session-Token",
        "description": "The token of a session, or an API token. Devyard-Session-Token means the same.",
    },
    "bearerToken": {"type": "http", "scheme": "bearer", "description": "The same token as a bearer."},
    "sessionCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "What browsers send; writes also need the header X-CSRF-TOKEN.",
    },
    "agentToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Coder-Session-Token",
        "description": "The token of a workspace's agent.",
    },
    "provisionerKey": {
        "type": "apiKey",
        "in": "header",
        "name": KEY_HEADER,
        "description": "The key of a provisioner.",
    },
}
SIGNED_IN: list[dict[str, list[str]]] = [{"sessionToken": []}, {"bearerToken": []}, {"sessionCookie": []}]
BY_PERMISSION: dict[str, list[dict[str, list[str]]]] = {
    PUBLIC: [],
    AGENT: [{"agentToken": []}],
    PROVISIONER: [{"provisionerKey": []}],
}
ERROR = {"$ref": "#/components/responses/Error"}


def describe_api(app: Litestar) -> dict[str, Any]:
    """The whole description, ready for JSON."""
    description: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    components = description.setdefault("components", {})
    _, error_schemas = msgspec.json.schema_components([Response], ref_template="#/components/schemas/{name}")
    components.setdefault("schemas", {}).update(error_schemas)
    components["securitySchemes"] = SCHEMES
    components["responses"] = {
        "Error": {
            "description": "What went wrong, to what, and what to do now; `validations` names refused fields.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Response"}}},
        }
    }
    subjects = set()
    for path, method, handler in _list_operations(app):
        operation = description["paths"].get(path, {}).get(method)
        if operation is not None:
            subjects.add(_complete(operation, handler))
    description["security"] = SIGNED_IN
    description["tags"] = [{"name": subject} for subject in sorted(subjects)]
    return description


def _complete(operation: dict[str, Any], handler: BaseRouteHandler) -> str:
    """Fill in an operation; answers its subject."""
    subject = handler.fn.__module__.removeprefix("devyard.server.").partition(".")[0]
    operation["tags"] = [subject]
    permission = str(handler.opt.get(PERMISSION, ""))
    operation["security"] = BY_PERMISSION.get(permission, SIGNED_IN)
    operation["x-devyard-permission"] = permission
    replies = {status: reply for status, reply in operation["responses"].items() if status < "4"}
    operation["responses"] = {**replies, "default": ERROR}
    return subject


def _list_operations(app: Litestar) -> Iterator[tuple[str, str, BaseRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    yield route.path_format, method.lower(), handler
