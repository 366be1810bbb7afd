"""The plugin executable: started by Terraform under either name, and what becomes of it afterwards."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devyard.provisioner.plugin.executable import COOKIE, COOKIE_NAME
from tests.e2e.provider.conftest import BACKENDS
from tests.e2e.provider.programs import TEMPLATE, make_executable, parameter, run


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    (folder / "main.tf").write_text(TEMPLATE)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
async def test_by_development_override(folder: Path, backend: str) -> None:
    make_executable(folder / "bin", "terraform-provider-coder")
    (folder / "rc").write_text(
        f'provider_installation {{\n  dev_overrides {{ "coder/coder" = "{folder}/bin" }}\n  direct {{}}\n}}\n'
    )
    variables = {
        "TF_CLI_CONFIG_FILE": str(folder / "rc"),
        "CODER_WORKSPACE_NAME": "dev",
        "CODER_WORKSPACE_OWNER": "ann",
        "PLUGIN_UNIX_SOCKET_DIR": str(folder),
        parameter("size"): "large",
    }
    made = await run(BACKENDS[backend], folder, "apply", "-auto-approve", "-no-color", **variables)
    assert made.code == 0, made.output
    assert 'who = "dev ann large"' in made.text
    again = await run(BACKENDS[backend], folder, "plan", "-no-color", "-detailed-exitcode", **variables)
    assert again.code == 0, again.output
    assert not list(folder.glob("dyp-*"))


async def test_from_a_mirror_and_without_encryption(folder: Path) -> None:
    command = next(iter(BACKENDS.values()))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    place = folder / f"mirror/registry.terraform.io/coder/coder/2.17.0/linux_{machine}"
    make_executable(place, "terraform-provider-coder_v2.17.0")
    (folder / "rc").write_text(
        f'provider_installation {{\n  filesystem_mirror {{ path = "{folder}/mirror" }}\n}}\n'
    )
    variables = {
        "TF_CLI_CONFIG_FILE": str(folder / "rc"),
        "PLUGIN_UNIX_SOCKET_DIR": str(folder),
        "TF_DISABLE_PLUGIN_TLS": "1",
    }
    made = await run(command, folder, "init", "-no-color", **variables)
    assert "Installed coder/coder v2.17.0" in made.text, made.output
    planned = await run(command, folder, "plan", "-no-color", **variables)
    assert 'who = "default default small"' in planned.text


def test_by_hand_it_says_what_it_is(folder: Path) -> None:
    path = make_executable(folder, "terraform-provider-devyard")
    done = subprocess.run([path], capture_output=True, text=True, timeout=30, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Devyard provider for Terraform" in done.stderr


def test_a_protocol_it_does_not_speak_is_named(folder: Path) -> None:
    path = make_executable(folder, "terraform-provider-devyard")
    environment = {COOKIE_NAME: COOKIE, "PLUGIN_PROTOCOL_VERSIONS": "6", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([path], capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 1
    assert "speaks provider protocols 6" in done.stderr


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, Path]]:
    """The plugin under a shell that stands for Terraform: the shell, the plugin's pid and its socket."""
    path = make_executable(folder, "terraform-provider-coder")
    script = f"{path} & echo $!; wait"
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", script),
        env={COOKIE_NAME: COOKIE, "PLUGIN_UNIX_SOCKET_DIR": str(folder), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert shell.stdout is not None
    pid = int(await asyncio.wait_for(shell.stdout.readline(), 30))
    line = (await asyncio.wait_for(shell.stdout.readline(), 30)).decode().rstrip("\n")
    core, protocol, network, address, kind, certificate = line.split("|")
    assert (core, protocol, network, kind, certificate) == ("1", "5", "unix", "grpc", "")
    try:
        yield shell, pid, Path(address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            shell.kill()
        await shell.wait()


async def wait_gone(pid: int, address: Path) -> None:
    for _ in range(200):
        if not address.exists() and not Path(f"/proc/{pid}").exists():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the plugin still runs")


async def test_it_ends_with_the_one_that_started_it(folder: Path) -> None:
    async with started(folder) as (shell, pid, address):
        shell.kill()
        await wait_gone(pid, address)
