"""Builds the Litestar application from the routes of all subjects: what every route shares is set here, once."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import LitestarDeprecationWarning
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from devyard import __version__
from devyard.server.http import guard
from devyard.server.http.edge import keep_failure
from devyard.server.http.errors import handle_exception
from devyard.server.services import Services
from devyard.wire.errors import BadRequest, NotFound

API_PATH = "/api/v2"
MAX_BODY_BYTES = 1 << 20
"""Bound of every body, but for the routes that set their own."""


class ApiRequest(Request[Any, Any, Any]):
    """A request whose JSON is read as existing clients write it: a field with null counts as not sent."""

    async def json(self) -> Any:
        """The body; an object without its null fields.

        Raises:
            BadRequest: it is not JSON.
        """
        body = await self.body()
        try:
            value = msgspec.json.decode(body) if body else {}
        except msgspec.DecodeError as error:
            raise BadRequest("The request's body is not valid JSON.", detail=str(error)) from None
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


def build_app(gate: guard.Gate, *, api_routes: Sequence[Any], root_routes: Sequence[Any]) -> Litestar:
    """The application; `api_routes` live under API_PATH.

    Raises:
        RuntimeError: a route declares no permission.
    """
    services = gate.services

    async def provide_services() -> Services:
        return services

    async def provide_gate() -> guard.Gate:
        return gate

    dependencies: Mapping[str, Provide] = {
        "services": Provide(provide_services, use_cache=True),
        "gate": Provide(provide_gate, use_cache=True),
        "actor": Provide(guard.provide_actor),
        "principal": Provide(guard.provide_principal),
    }
    with warnings.catch_warnings():
        # Dependencies and queries are told from the signature; Litestar 3 will want each marked.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        api = Router(API_PATH, route_handlers=list(api_routes))
        app = _make_litestar(gate, dependencies, [api, *root_routes])
    guard.check_routes(app)
    return app


def _make_litestar(gate: guard.Gate, dependencies: Mapping[str, Provide], routes: Sequence[Any]) -> Litestar:
    return Litestar(
        route_handlers=list(routes),
        dependencies=dict(dependencies),
        guards=[guard.guard_permission],
        exception_handlers={Exception: handle_exception},
        after_exception=[keep_failure],
        request_class=ApiRequest,
        request_max_body_size=MAX_BODY_BYTES,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Devyard",
            version=__version__,
            create_examples=False,
            openapi_router=Router(
                f"{API_PATH}/schema",
                route_handlers=[],
                opt={guard.PERMISSION: guard.PUBLIC},
                guards=[_refuse_framework_page],
                include_in_schema=False,
            ),
            render_plugins=[JsonRenderPlugin()],
        ),
        state=State({"gate": gate}),
        debug=False,
    )


async def _refuse_framework_page(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """The framework's own pages of the schema work it out on the event loop; `openapi.json` is ours."""
    raise NotFound(f"The API's description is at {API_PATH}/openapi.json.")
