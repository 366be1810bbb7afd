"""The server's composition root: builds every object by hand, in order, and hands out the ASGI application.

Called by the API processes and by tests. Nothing else in the package keeps state of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from litestar import Litestar

from devyard.runtime.imports import uncollected
from devyard.server.agents import api as agents
from devyard.server.agents.hub import AgentHub
from devyard.server.audit import api as audit
from devyard.server.background import Background, Loop
from devyard.server.builds import api as builds
from devyard.server.db.migrate import migrate
from devyard.server.db.pool import open_pool
from devyard.server.db.wakeups import Wakeups
from devyard.server.deployment import api as deployment
from devyard.server.deployment.actions import make_deployment
from devyard.server.encryption import loops as encryption
from devyard.server.encryption.actions import load_keyring
from devyard.server.files import api as files
from devyard.server.forms import api as forms
from devyard.server.forms.routing import POLL_S as CLAIM_FORMS_S
from devyard.server.forms.routing import TOPIC as FORMS_TOPIC
from devyard.server.forms.routing import FormClaims
from devyard.server.http.edge import AsgiApp, Edge
from devyard.server.http.guard import AGENT, PROVISIONER, Gate
from devyard.server.http.routing import build_app
from devyard.server.jobs.loops import PERIOD_S as REAP_S
from devyard.server.jobs.loops import Reaper
from devyard.server.jobs.waiting import PERIOD_S as WAITING_S
from devyard.server.jobs.waiting import fail_hopeless
from devyard.server.organizations import api as organizations
from devyard.server.provisioners import api as provisioners
from devyard.server.provisioners.link.hub import ProvisionerHub
from devyard.server.provisioners.signin import authenticate_provisioner
from devyard.server.repair import api as repair
from devyard.server.retention import loops as retention
from devyard.server.services import Services, read_clock
from devyard.server.settings import ServerSettings
from devyard.server.templates import api as templates
from devyard.server.templates import versions_api as template_versions
from devyard.server.terraformconfig import make_terraform_settings
from devyard.server.tickets.actions import load_signer
from devyard.server.tokens import api as tokens
from devyard.server.users import api as users
from devyard.server.users.actions import make_first_user
from devyard.server.workspaces import api as workspaces
from devyard.server.workspaces.rendering import Renderer

FLUSH_S = 3.0
SWEEP_FORMS_S = 30.0


@dataclass(frozen=True, kw_only=True)
class ServerApp:
    """A running server: `asgi` answers requests; `stream_keys` are the public keys that relays verify with."""

    asgi: AsgiApp
    stream_keys: Mapping[str, bytes]
    services: Services
    gate: Gate
    litestar: Litestar
    hub: AgentHub


@asynccontextmanager
async def open_app(settings: ServerSettings, *, internal_key: str) -> AsyncIterator[ServerApp]:
    """Start a server on the database of `settings.postgres_url`; migrations run first.

    Raises:
        DatabaseTooNew: a newer Devyard has migrated the database.
        KeysError: the encryption keys can't be read, or one that the database needs is not among them.
    """
    if not settings.postgres_url:
        raise ValueError("open_app needs settings with the URL of a running database")
    await migrate(settings.postgres_url)
    keyring = await load_keyring(settings)
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.postgres_url, keyring)
        stack.push_async_callback(close_pool, pool)
        services = await stack.enter_async_context(open_services(settings, pool, internal_key))
        hub = await stack.enter_async_context(AgentHub(services))
        authenticators = {AGENT: hub.authenticate, PROVISIONER: authenticate_provisioner}
        gate = Gate(services=services, authenticators=authenticators)
        await make_first_user(services, gate.passwords)
        provisioner_hub = ProvisionerHub(services)
        stack.push_async_callback(provisioner_hub.drain)
        api_routes = [
            *list_api_routes(),
            provisioners.make_socket_route(provisioner_hub),
            *list_workspace_routes(services, hub),
        ]
        with uncollected():
            app = build_app(gate, api_routes=api_routes, root_routes=list_root_routes())
        claims = FormClaims(services)
        stack.push_async_callback(claims.close)
        await stack.enter_async_context(Background(list_loops(gate, claims), services.wakeups))
        is_secure = urlsplit(settings.access_url).scheme == "https"
        yield ServerApp(
            asgi=Edge(app, is_secure=is_secure),
            stream_keys=services.signer.public_keys(),
            services=services,
            gate=gate,
            litestar=app,
            hub=hub,
        )


@asynccontextmanager
async def open_services(
    settings: ServerSettings, pool: asyncpg.Pool, internal_key: str
) -> AsyncIterator[Services]:
    """The shared objects of a process on a migrated database."""
    wakeups = Wakeups(settings.postgres_url or "")
    await wakeups.start()
    try:
        deployment_id, organization_id = await make_deployment(pool)
        yield Services(
            settings=settings,
            pool=pool,
            wakeups=wakeups,
            signer=await load_signer(pool, read_clock()),
            deployment_id=deployment_id,
            organization_id=organization_id,
            internal_key=internal_key,
            terraform=make_terraform_settings(settings),
        )
    finally:
        await wakeups.close()


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close the pool's connections; those still in use after five seconds are cut."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def list_api_routes() -> list[Any]:
    """Routes under /api/v2, by subject."""
    return [
        *deployment.routes,
        *users.routes,
        *tokens.routes,
        *organizations.routes,
        *files.routes,
        *templates.routes,
        *template_versions.routes,
        *forms.routes,
        *provisioners.routes,
        *audit.routes,
    ]


def list_workspace_routes(services: Services, hub: AgentHub) -> list[Any]:
    """Routes of workspaces, builds and agents, which share objects of their own."""
    return [workspaces.make_router(Renderer(services)), *builds.ROUTES, *repair.routes, agents.make_router(hub)]


def list_root_routes() -> list[Any]:
    """Routes outside /api/v2."""
    return [*deployment.root_routes]


def list_loops(gate: Gate, claims: FormClaims) -> list[Loop]:
    """Background work of all subjects."""
    pool = gate.services.pool
    reaper = Reaper(gate.services)
    return [
        Loop("give up lost jobs", REAP_S, reaper.run_round),
        Loop("claim forms", CLAIM_FORMS_S, claims.run_round, (FORMS_TOPIC,)),
        Loop("sweep forms", SWEEP_FORMS_S, claims.sweep),
        Loop("fail jobs without provisioner", WAITING_S, lambda: fail_hopeless(gate.services)),
        Loop("flush key uses", FLUSH_S, lambda: gate.uses.flush(pool)),
        Loop("flush refused log-ins", FLUSH_S, lambda: gate.refusals.flush(pool)),
        *retention.list_loops(gate.services),
        *encryption.list_loops(gate.services),
    ]
