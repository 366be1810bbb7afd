"""Routes about the deployment itself, most of them asked by clients when they sign in."""

import asyncio
from typing import Any

import msgspec
import structlog
from litestar import Request, get, post
from litestar import Response as HttpResponse

from devyard import REPORTED_VERSION
from devyard.server.access.rules import Actor, is_allowed
from devyard.server.db.migrate import list_migrations
from devyard.server.deployment import queries
from devyard.server.http.description import describe_api
from devyard.server.http.guard import needs
from devyard.server.http.ids import read_id
from devyard.server.services import Services
from devyard.wire.deployment import (
    Appearance,
    AppHost,
    AvailableExperiments,
    Banner,
    Entitlements,
    ExternalScopes,
    Feature,
    Region,
    Regions,
    UpdateCheck,
)
from devyard.wire.errors import Invalid, Response, Unavailable, ValidationError
from devyard.wire.identity import AuthorizationObject, AuthorizationRequest, BuildInfo, SSHConfigResponse
from devyard.wire.provisionerlink import API_VERSION

log = structlog.get_logger("deployment")

AGENT_API_VERSION = "1.0"
HOSTNAME_SUFFIX = "devyard"
MAX_CHECKS = 200
FEATURES = (
    "access_control",
    "advanced_template_scheduling",
    "appearance",
    "audit_log",
    "browser_only",
    "control_shared_ports",
    "custom_roles",
    "external_provisioner_daemons",
    "external_token_encryption",
    "high_availability",
    "multiple_external_auth",
    "multiple_organizations",
    "scim",
    "template_rbac",
    "user_limit",
    "user_role_management",
    "workspace_batch_actions",
    "workspace_proxy",
)


@get("/", opt=needs("public"))
async def get_root() -> Response:
    """What this is, for whoever tries the path."""
    return Response(message="This is Devyard's API. Its description is at /api/v2/openapi.json.")


@get("/openapi.json", opt=needs("public"), include_in_schema=False)
async def get_openapi(request: Request[Any, Any, Any]) -> HttpResponse[bytes]:
    """The API's description in OpenAPI 3.1."""
    cached: bytes | None = request.app.state.get("openapi")
    if cached is None:
        schema = await asyncio.to_thread(describe_api, request.app)
        cached = request.app.state["openapi"] = msgspec.json.encode(schema)
    return HttpResponse(cached, media_type="application/json")


@get("/buildinfo", opt=needs("public"))
async def get_build_info(services: Services) -> BuildInfo:
    """What runs here."""
    return BuildInfo(
        external_url="",
        version=REPORTED_VERSION,
        dashboard_url=services.settings.access_url,
        telemetry=False,
        workspace_proxy=False,
        agent_api_version=AGENT_API_VERSION,
        provisioner_api_version=API_VERSION,
        upgrade_message="",
        deployment_id=services.deployment_id,
    )


@get("/updatecheck", opt=needs("public"))
async def check_update() -> UpdateCheck:
    """This server asks no one about newer versions, so its own is the latest known."""
    return UpdateCheck(current=True, version=REPORTED_VERSION, url="")


@get("/deployment/ssh", opt=needs("signed_in"))
async def get_ssh_config() -> SSHConfigResponse:
    """How `config-ssh` names hosts."""
    return SSHConfigResponse(
        hostname_prefix=f"{HOSTNAME_SUFFIX}.", hostname_suffix=HOSTNAME_SUFFIX, ssh_config_options={}
    )


@get("/experiments", opt=needs("signed_in"))
async def list_experiments() -> list[str]:
    """Experiments that are on."""
    return []


@get("/experiments/available", opt=needs("signed_in"))
async def list_available_experiments() -> AvailableExperiments:
    """Experiments that exist."""
    return AvailableExperiments(safe=[])


@get("/entitlements", opt=needs("signed_in"))
async def get_entitlements(services: Services) -> Entitlements:
    """Every feature is on; there are no licences."""
    return Entitlements(
        features={name: Feature() for name in FEATURES},
        warnings=[],
        errors=[],
        has_license=False,
        trial=False,
        require_telemetry=False,
        refreshed_at=services.now(),
    )


@get("/appearance", opt=needs("public"))
async def get_appearance() -> Appearance:
    """How the deployment presents itself."""
    return Appearance(
        application_name="Devyard",
        logo_url="",
        docs_url="",
        service_banner=Banner(),
        announcement_banners=[],
        support_links=[],
    )


@get("/regions", opt=needs("signed_in"))
async def list_regions(services: Services) -> Regions:
    """The relays: the built-in one."""
    primary = Region(
        id=services.deployment_id,
        name="primary",
        display_name="Default",
        icon_url="",
        healthy=True,
        path_app_url=services.settings.access_url,
        wildcard_hostname="",
    )
    return Regions([primary])


@get("/applications/host", opt=needs("signed_in"))
async def get_app_host() -> AppHost:
    """The host for apps with names of their own: none is configured."""
    return AppHost(host="")


@get("/auth/scopes", opt=needs("public"))
async def list_scopes() -> ExternalScopes:
    """Scopes that a token may be narrowed to."""
    return ExternalScopes(external=["all", "application_connect"])


@post("/authcheck", opt=needs("signed_in"), status_code=200)
async def check_authorization(actor: Actor, data: AuthorizationRequest) -> dict[str, bool]:
    """Which of the asked things the caller may do."""
    if len(data.checks) > MAX_CHECKS:
        detail = f"At most {MAX_CHECKS} questions are answered at once."
        raise Invalid("There are too many checks.", validations=[ValidationError("checks", detail)])
    return {name: _decide_check(actor, check.object, check.action) for name, check in data.checks.items()}


@post("/csp/reports", opt=needs("signed_in"), status_code=200)
async def report_csp(request: Request[Any, Any, Any]) -> Response:
    """A browser's report about something that the content security policy stopped."""
    body = await request.body()
    report = body[:2000].decode("utf-8", "replace")
    log.warning("a browser reported a breach of the content security policy", report=report)
    return Response(message="ok")


@get("/healthz", opt=needs("public"), media_type="text/plain", include_in_schema=False)
async def get_health() -> str:
    """The process answers."""
    return "OK"


@get("/readyz", opt=needs("public"), media_type="text/plain", include_in_schema=False)
async def get_readiness(services: Services) -> str:
    """The database answers and is migrated."""
    async with asyncio.timeout(3):
        done = await queries.count_migrations(services.pool)
    if done < len(await asyncio.to_thread(list_migrations)):
        raise Unavailable("The database is not migrated yet.")
    return "OK"


@get("/latency-check", opt=needs("public"), media_type="text/plain", include_in_schema=False)
async def check_latency() -> HttpResponse[str]:
    """Measured by pages of any origin."""
    headers = {"Access-Control-Allow-Origin": "*", "Timing-Allow-Origin": "*", "Cache-Control": "no-store"}
    return HttpResponse("OK", headers=headers, media_type="text/plain")


@get("/", opt=needs("public"), media_type="text/html", include_in_schema=False)
async def get_landing(services: Services) -> HttpResponse[str]:
    """A page for browsers that says what to do."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    page = LANDING.replace("{url}", _escape(services.settings.access_url))
    return HttpResponse(page, media_type="text/html", headers={"Content-Security-Policy": policy})


LANDING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Devyard</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:42rem;margin:12vh auto;padding:0 1.5rem;color:#1c1e21}
code,pre{background:#f1f3f5;border-radius:4px;padding:.15em .4em}pre{padding:1em;overflow:auto}</style></head>
<body><h1>Devyard</h1>
<p>This server is running. Sign in and make a workspace from a terminal:</p>
<pre>devyard login {url}
devyard templates list
devyard create my-workspace
devyard ssh my-workspace</pre>
<p>The API is described at <a href="/api/v2/openapi.json">/api/v2/openapi.json</a>.</p></body></html>
"""


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _decide_check(actor: Actor, thing: AuthorizationObject, action: str) -> bool:
    owner_id = actor.user_id if thing.owner_id == "me" else read_id(thing.owner_id)
    organization_id = read_id(thing.organization_id)
    if thing.any_org and actor.organization_ids:
        organization_id = actor.organization_ids[0]
    return is_allowed(actor, f"{thing.resource_type}:{action}", owner_id=owner_id, organization_id=organization_id)


routes: list[Any] = [
    get_root,
    get_openapi,
    get_build_info,
    check_update,
    get_ssh_config,
    list_experiments,
    list_available_experiments,
    get_entitlements,
    get_appearance,
    list_regions,
    get_app_host,
    list_scopes,
    check_authorization,
    report_csp,
]
root_routes: list[Any] = [get_health, get_readiness, check_latency, get_landing]
