"""Servers on one database, and a real provisioner with real Terraform beside them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.engine.backend import NoTerraform
from devyard.provisioner.engine.terraform import open_terraform
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.dial import Identity
from devyard.provisioner.link.session import Session
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory
from devyard.server.app import open_app
from devyard.wire.forms import DynamicParametersResponse
from tests.conftest import Api
from tests.db.provisioners.fake import INTERNAL, create_version, make_tar, upload

FIRST_ID = -1


@dataclass
class OpenForm:
    """A form's WebSocket."""

    socket: ClientConnection
    last_id: int = 0

    async def receive(self, timeout_s: float = 20) -> DynamicParametersResponse:
        async with asyncio.timeout(timeout_s):
            return msgspec.json.decode(await self.socket.recv(), type=DynamicParametersResponse)

    async def ask(self, inputs: Mapping[str, str], **fields: Any) -> DynamicParametersResponse:
        """The answer to these values."""
        self.last_id += 1
        await self.socket.send(msgspec.json.encode({"id": self.last_id, "inputs": inputs, **fields}).decode())
        answer = await self.receive()
        assert answer.id == self.last_id
        return answer


def values_of(answer: DynamicParametersResponse) -> dict[str, str | None]:
    """Parameter → value, None where there is none."""
    return {p.name: p.value.value if p.value.valid else None for p in answer.parameters}


def problems_of(answer: DynamicParametersResponse) -> dict[str, list[str]]:
    """Parameter → what is wrong with its value; the form's own under an empty name."""
    found = {p.name: [d.summary for d in p.diagnostics] for p in answer.parameters if p.diagnostics}
    return found | ({"": [f"{d.summary} {d.detail}" for d in answer.diagnostics]} if answer.diagnostics else {})


@asynccontextmanager
async def open_form(api: Api, client: httpx.AsyncClient, version: str, query: str = "") -> AsyncIterator[OpenForm]:
    """A version's form over the WebSocket."""
    url = f"{api.base_url}/api/v2/templateversions/{version}/dynamic-parameters{query}".replace("http", "ws", 1)
    headers = {"Coder-Session-Token": client.headers["Coder-Session-Token"]}
    async with connect(url, additional_headers=headers) as socket:
        yield OpenForm(socket)


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[Api]:
    """A server's application on a free port of this machine."""
    config = uvicorn.Config(
        app.asgi, host="127.0.0.1", port=0, ws="websockets-sansio", log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    api = Api(app, base_url=f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    async with api.stack:
        yield api
    server.should_exit = server.force_exit = True
    await serving


@asynccontextmanager
async def run_provisioner(
    api: Api, directory: Path, *, tags: Mapping[str, str] | None = None, terraform: str = "auto"
) -> AsyncIterator[Session]:
    """A provisioner in this process, connected to a server."""
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as root:
        try:
            async with open_terraform(terraform, directory=root) as opened:
                tools = Tools(opened, TemplateCache(directory / "cache"), root)
                identity = Identity(url=api.base_url, key=INTERNAL, name="real", tags=dict(tags or {}))
                session = Session(identity, tools, directory / "lost")
                task = asyncio.create_task(session.run())
                async with asyncio.timeout(20):
                    while not any(True for _ in api.services.forms):
                        await asyncio.sleep(0.01)
                yield session
                session.cancel(force=True)
                await asyncio.wait_for(task, 20)
        except NoTerraform:
            pytest.skip("there is no Terraform here")


async def push(client: httpx.AsyncClient, files: Mapping[str, str], **fields: Any) -> str:
    """A version that was imported."""
    file_id = (await upload(client, make_tar(files))).json()["hash"]
    version = await create_version(client, **{"file_id": file_id, **fields})
    async with asyncio.timeout(30):
        while True:
            found = (await client.get(f"/templateversions/{version['id']}")).json()
            if found["job"]["status"] not in ("pending", "running"):
                break
            await asyncio.sleep(0.02)
    assert found["job"]["status"] == "succeeded", found["job"]
    return str(version["id"])


@pytest.fixture
async def second_api(settings: Any) -> AsyncIterator[Api]:
    """Another API process on the same database, as far as the database can tell."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_app(settings, internal_key=INTERNAL))
        yield await stack.enter_async_context(serve(app))
