"""Providers and modules are resolved once, at import; builds in a closed network namespace need no more than the
server: from a filesystem mirror and from a network mirror, with each of the two backends."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.engine.backend import check_version
from devyard.provisioner.engine.terraform import open_terraform
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.link.dial import Identity
from devyard.provisioner.link.session import Session
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory
from tests.conftest import Api
from tests.db.provisioners.fake import INTERNAL, create_version, make_tar, upload
from tests.e2e.engine.conftest import BACKENDS

from .closed import join
from .sources import (
    HOST,
    NAME,
    VERSION,
    Site,
    list_mirror_files,
    list_module_files,
    make_certificate,
    serving,
    write_provider,
    zip_provider,
)

HERE = Path(__file__).parent
TEMPLATE = f"""
terraform {{
  required_providers {{
    coder   = {{ source = "coder/coder" }}
    example = {{ source = "{NAME}" }}
  }}
}}
module "words" {{
  source  = "{HOST}/acme/words/any"
  version = "~> 1.0"
}}
data "coder_workspace" "me" {{}}
resource "example_greeting" "kept" {{
  greeting = module.words.text
}}
resource "example_greeting" "running" {{
  count    = data.coder_workspace.me.start_count
  greeting = "running"
}}
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="needs root, unshare (util-linux) and ip (iproute2) for a network namespace",
)


@pytest.fixture
def sources(kind: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A module registry and a mirror, with the settings that lead to them; `close` shuts them down for good."""
    package = tmp_path / "mirror" / NAME / VERSION / "linux_amd64"
    write_provider(package)
    tls, bundle = make_certificate(tmp_path)
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(serving(Site()))
        registry.files = list_module_files(registry.url)
        mirror = stack.enter_context(serving(Site(tls)))
        if kind == "network mirror":
            mirror.files = list_mirror_files(zip_provider(package))
            shutil.rmtree(tmp_path / "mirror")
            method = f'network_mirror {{ url = "{mirror.url}/" }}'
        else:
            method = f'filesystem_mirror {{ path = "{tmp_path / "mirror"}" }}'

        def close() -> None:
            stack.close()
            shutil.rmtree(tmp_path / "mirror", ignore_errors=True)

        config = tmp_path / "terraform.tfrc"
        config.write_text(f"provider_installation {{\n  {method}\n}}\n")
        environment = {**os.environ, "SSL_CERT_FILE": str(bundle), "TF_DISABLE_PLUGIN_TLS": "1"}
        yield {"hosts": f"{HOST}={registry.url}/", "config": config, "environment": environment, "close": close}


@pytest.fixture
def settings(settings: Any, sources: dict[str, Any]) -> Any:
    import msgspec

    return msgspec.structs.replace(
        settings, terraform_hosts=sources["hosts"], terraform_cli_config=sources["config"]
    )


@asynccontextmanager
async def importer(url: str, backend: str, cache: Path, environment: dict[str, str]) -> AsyncIterator[str]:
    """A provisioner in this process, whose network is open; its Terraform's version."""
    with open_work_root(find_fast_directory(Path(tempfile.gettempdir()))) as root:
        async with open_terraform(
            backend, directory=root, passed_variables=("TF_DISABLE_PLUGIN_TLS",), own_environment=environment
        ) as terraform:
            tools = Tools(terraform, TemplateCache(cache), root)
            session = Session(Identity(url=url, key=INTERNAL, name="open", tags={}), tools, cache / "lost")
            task = asyncio.create_task(session.run())
            try:
                yield terraform.version
            finally:
                session.cancel(force=True)
                await asyncio.wait_for(task, 20)


@asynccontextmanager
async def closed_provisioner(url: str, backend: str, directory: Path) -> AsyncIterator[None]:
    """`devyard provisioner start` with an empty cache where nothing but the server can be reached."""
    port = int(url.rpartition(":")[2])
    way_out = directory / "server.sock"

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await join((reader, writer), await asyncio.open_connection("127.0.0.1", port))

    relay = await asyncio.start_unix_server(accept, way_out)
    environment = {
        **os.environ,
        "DEVYARD_PROVISIONER_DAEMON_KEY": INTERNAL,
        "TF_DISABLE_PLUGIN_TLS": "1",
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "unshare", "--net", sys.executable, str(HERE / "closed.py"), str(way_out),
            sys.executable, "-m", "devyard", "provisioner", "start", "--url", "{url}", "--name", "closed",
            "--terraform", backend, "--terraform-env", "TF_DISABLE_PLUGIN_TLS",
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)
        relay.close()


async def wait_job(client: httpx.AsyncClient, path: str, log: Path | None = None) -> dict[str, Any]:
    """What is at `path` once its job has ended well."""
    async with asyncio.timeout(60):
        while True:
            found = (await client.get(path)).json()
            job = found.get("job") or found["latest_build"]["job"]
            if job["status"] in ("succeeded", "failed", "canceled"):
                break
            await asyncio.sleep(0.05)
    assert job["status"] == "succeeded", (job, log.read_text() if log and log.exists() else "")
    return found


async def build(client: httpx.AsyncClient, workspace: dict[str, Any], transition: str, log: Path) -> set[str]:
    """The names of the resources that a build has left."""
    reply = await client.post(f"/workspaces/{workspace['id']}/builds", json={"transition": transition})
    assert reply.status_code == 201, reply.text
    path = f"/workspacebuilds/{reply.json()['id']}"
    made = await wait_job(client, path, log)
    stages = {line["stage"] for line in (await client.get(f"{path}/logs")).json()}
    assert "Setting up" in stages
    assert "Initializing Terraform" not in stages
    return {resource["name"] for resource in made["resources"]}


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        pytest.param("filesystem mirror", *BACKENDS[0].values, marks=BACKENDS[0].marks),
        pytest.param("network mirror", *BACKENDS[1].values, marks=BACKENDS[1].marks),
    ],
)
async def test_builds_need_no_network(
    backend: str, live_api: Api, sources: dict[str, Any], tmp_path: Path
) -> None:
    client = await live_api.client((await live_api.add_user("ada", "owner"))[1])
    archive = (await upload(client, make_tar({"main.tf": TEMPLATE}))).json()["hash"]
    async with importer(
        live_api.base_url, backend, tmp_path / "open", sources["environment"]
    ) as terraform_version:
        version = await create_version(client, file_id=archive)
        version = await wait_job(client, f"/templateversions/{version['id']}")
    warning = check_version(terraform_version)
    assert version["warnings"] == ([warning] if warning else [])
    body = {"name": "words", "template_version_id": version["id"]}
    template = (await client.post("/organizations/default/templates", json=body)).json()
    sources["close"]()

    log = tmp_path / "log"
    async with closed_provisioner(live_api.base_url, backend, tmp_path):
        body = {"name": "dev", "template_id": template["id"]}
        workspace = (await client.post("/users/me/workspaces", json=body)).json()
        made = await wait_job(client, f"/workspaces/{workspace['id']}", log)
        assert {r["name"] for r in made["latest_build"]["resources"]} == {"kept", "running"}
        assert await build(client, workspace, "stop", log) == {"kept"}
        assert await build(client, workspace, "start", log) == {"kept", "running"}
        assert await build(client, workspace, "delete", log) == set()
    providers = tmp_path / "cache" / "devyard" / "provisioner" / "packages"
    assert len([path for path in providers.iterdir() if path.is_dir()]) == 2
