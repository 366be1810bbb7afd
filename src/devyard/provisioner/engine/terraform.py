"""Terraform as the rest of the provisioner sees it: one interface over the library and the executable.

The provisioner opens one at its start; jobs borrow lanes of it. The two backends differ in what the worker
loads (worker.py), and in nothing else. docs/design/terraform.md says why it is built so.
"""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from devyard.provisioner.engine.backend import Backend, NoTerraform, find_backends
from devyard.provisioner.engine.cliconfig import CliConfig
from devyard.provisioner.engine.environment import build_environment
from devyard.provisioner.engine.fence import remove_leftovers
from devyard.provisioner.engine.lane import CommandFailed, Lane, Lanes, MakeLane
from devyard.provisioner.engine.process import Worker, WorkerLost
from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.provider.sandboxes import SandboxRuntime
from devyard.provisioner.provider.server import ProviderServer

log = structlog.get_logger()


class Version(NamedTuple):
    """Terraform's version, and its name for this machine (`linux_amd64`)."""

    number: str
    platform: str


class Terraform:
    """A Terraform that is there and answers. Use `open_terraform`.

    `make_lane` starts a lane of its own for who keeps some apart from the jobs' (forms).
    """

    def __init__(
        self, backend: Backend, lanes: Lanes, version: Version, config: CliConfig, make_lane: MakeLane
    ) -> None:
        self.backend = backend
        self.version = version.number
        self.platform = version.platform
        self.make_lane = make_lane
        self._lanes = lanes
        self._config = config

    @property
    def cli_config_path(self) -> str:
        """The CLI configuration that workers are started with, or empty."""
        return self._config.path

    async def configure(self, cli_config: str) -> None:
        """Uses the server's CLI configuration from now on, where this provisioner has none of its own."""
        if await asyncio.to_thread(self._config.offer, cli_config):
            self._lanes.renew()

    @asynccontextmanager
    async def lane(self, key: str) -> AsyncIterator[Lane]:
        """A lane for one job. `key` names the third-party providers that its worker will have in memory."""
        lane = await self._lanes.take(key)
        try:
            await asyncio.to_thread(lane.fence.begin)
            yield lane
        finally:
            await lane.clean()
            self._lanes.give_back(lane)


@asynccontextmanager
async def open_terraform(
    setting: str,
    *,
    directory: Path,
    passed_variables: Sequence[str] = (),
    sandboxes: SandboxRuntime | None = None,
    own_environment: Mapping[str, str] | None = None,
    cli_config: Path | None = None,
) -> AsyncIterator[Terraform]:
    """Finds, starts and at the end stops Terraform as `setting` (auto, library, binary or a path) says.

    `directory`: private, with a short path, for sockets. `passed_variables`: names or patterns of the environment
    that may reach Terraform. `cli_config`: a file that counts instead of what the server says. Raises NoTerraform.
    """
    own = os.environ if own_environment is None else own_environment
    await asyncio.to_thread(remove_leftovers)
    failures = []
    config = CliConfig(directory / "terraform.tfrc", cli_config)
    for backend in await asyncio.to_thread(find_backends, setting):
        make_lane = _LaneMaker(backend, directory, passed_variables, sandboxes, own, config).make
        lanes = Lanes(make_lane)
        try:
            version = await _read_version(lanes, directory)
        except (WorkerLost, CommandFailed) as error:
            await lanes.close()
            failures.append(f"{backend.path}: {error}")
            log.warning("terraform_unusable", backend=backend.kind, path=str(backend.path), why=str(error))
            continue
        log.info("terraform_ready", backend=backend.kind, path=str(backend.path), version=version.number)
        try:
            yield Terraform(backend, lanes, version, config, make_lane)
        finally:
            await lanes.close()
        return
    raise NoTerraform("Terraform can't be started. " + " ".join(failures))


class _LaneMaker:
    def __init__(
        self,
        backend: Backend,
        directory: Path,
        passed: Sequence[str],
        sandboxes: SandboxRuntime | None,
        own: Mapping[str, str],
        config: CliConfig,
    ) -> None:
        self._backend = backend
        self._directory = directory
        self._passed = passed
        self._sandboxes = sandboxes
        self._own = own
        self._config = config
        self._numbers = itertools.count(1)

    async def make(self) -> Lane:
        provider = await ProviderServer.start(
            self._directory / f"{next(self._numbers)}.sock", sandboxes=self._sandboxes
        )
        reattach = json.dumps(provider.reattach())
        environment = build_environment(self._own, self._passed, reattach, self._config.path)
        try:
            return Lane(await Worker.start(self._backend, environment), provider)
        except OSError as error:
            await provider.close()
            raise WorkerLost(f"A worker for Terraform can't be started: {error}") from error


async def _read_version(lanes: Lanes, directory: Path) -> Version:
    lane = await lanes.take("")
    try:
        answer = json.loads(await lane.read(directory, ["version", "-json"], Stop()))
        return Version(str(answer["terraform_version"]), str(answer["platform"]))
    except (ValueError, KeyError) as error:
        raise CommandFailed(f"its version can't be read: {error}") from error
    finally:
        lanes.give_back(lane)
