"""A build alone: job received → BuildDone ready to be sent, with our provider only, on each Terraform there is.

    python bench/build.py [--rounds 20] [--backend library|binary]

Prints medians (and minimum and maximum) in milliseconds for each transition, and where the time goes. The template
has an agent with an app, a script, a variable, metadata, a parameter and two resources, one of which stops.
"""

import argparse
import asyncio
import hashlib
import io
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import structlog

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.engine.backend import NoTerraform
from devyard.provisioner.engine.stopping import Stop
from devyard.provisioner.engine.terraform import open_terraform
from devyard.provisioner.jobs.run import run_job
from devyard.provisioner.jobs.workplace import Tools
from devyard.provisioner.templates.cache import TemplateCache
from devyard.provisioner.templates.workdir import find_fast_directory
from devyard.wire.provisionerlink import (
    Archive,
    BuildDone,
    BuildJob,
    ImportDone,
    ImportJob,
    Job,
    JobLogLine,
    WorkspaceContext,
)
from devyard.wire.provisionerpackages import Package

TEMPLATE = """
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_provisioner" "me" {}
data "coder_parameter" "size" {
  name    = "size"
  type    = "number"
  default = "2"
  mutable = true
}
resource "coder_agent" "main" {
  os             = data.coder_provisioner.me.os
  arch           = data.coder_provisioner.me.arch
  startup_script = "echo hello"
  env            = { GIT_AUTHOR_NAME = data.coder_workspace_owner.me.name }
  metadata {
    key      = "cpu"
    script   = "cat /proc/loadavg"
    interval = 10
  }
}
resource "coder_app" "code" {
  agent_id = coder_agent.main.id
  slug     = "code"
  url      = "http://localhost:13337"
}
resource "coder_script" "tools" {
  agent_id     = coder_agent.main.id
  display_name = "Tools"
  script       = "true"
  run_on_start = true
}
resource "coder_env" "path" {
  agent_id = coder_agent.main.id
  name     = "EDITOR"
  value    = "vi"
}
resource "terraform_data" "disk" {
  input = data.coder_workspace.me.name
}
resource "terraform_data" "machine" {
  count            = data.coder_workspace.me.start_count
  input            = { disk = terraform_data.disk.id, size = data.coder_parameter.size.value }
  triggers_replace = coder_agent.main.token
}
resource "coder_metadata" "machine" {
  count       = data.coder_workspace.me.start_count
  resource_id = terraform_data.machine[0].id
  item {
    key   = "size"
    value = data.coder_parameter.size.value
  }
}
"""
TRANSITIONS = ("create", "stop", "start", "restart", "stop", "delete")


class Link:
    """The server's part: an archive to fetch, and nothing kept."""

    def __init__(self, archive: bytes) -> None:
        self.archive = archive
        self.states = 0

    def send_log(self, line: JobLogLine) -> None:
        """Thrown away."""

    def save_state(self, state: bytes) -> None:
        self.states += 1

    def keep_state(self, state: bytes) -> None:
        """Thrown away; on a real link a small file in memory."""

    def report_in_flight(self, creating: object, destroying: object, planned: object) -> None:
        """Thrown away."""

    async def fetch(self, archive: Archive, target: Path) -> None:
        target.write_bytes(self.archive)

    async def fetch_package(self, package: Package, target: Path) -> None:
        raise FileNotFoundError(package.name)  # the template needs none

    async def offer_package(self, package: Package, prepare: Callable[[], Awaitable[Path]]) -> str:
        return "The benchmark keeps none."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backend", choices=["library", "binary"])
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    for backend in [arguments.backend] if arguments.backend else ["library", "binary"]:
        try:
            asyncio.run(measure(backend, min(arguments.rounds, 200)))
        except NoTerraform as error:
            print(f"{backend}: {error}")


async def measure(backend: str, rounds: int) -> None:
    """Builds `rounds` workspaces one after the other and prints the table."""
    times: dict[str, list[float]] = defaultdict(list)
    stages: dict[str, list[float]] = defaultdict(list)
    with _directories() as (cache, root):
        async with open_terraform(backend, directory=root) as terraform:
            bench = Bench(Tools(terraform, TemplateCache(cache), root), pack(TEMPLATE))
            await bench.learn()
            for number in range(rounds + 1):
                await bench.live(times if number else defaultdict(list), stages if number else defaultdict(list))
            print(f"\n{backend}: Terraform {terraform.version}, {rounds} workspaces")
            print("| build | median | min | max |\n|---|---|---|---|")
            for name, values in times.items():
                print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
            print("of which, median: " + ", ".join(f"{k} {statistics.median(v):.0f}" for k, v in stages.items()))
            print(f"states sent while applying: {bench.link.states / (rounds + 1) / len(TRANSITIONS):.1f} a build")


class Bench:
    """Runs jobs as the session would."""

    def __init__(self, tools: Tools, archive: bytes) -> None:
        self.tools = tools
        self.link = Link(archive)
        self.archive = Archive(uuid4(), hashlib.sha256(archive).hexdigest(), len(archive))
        self.agent_resources: dict[str, str] = {}

    async def learn(self) -> None:
        """Imports the template, as happened long before a build."""
        context = WorkspaceContext(access_url="http://127.0.0.1:7080")
        done = await self.run(ImportJob(context))
        assert isinstance(done, ImportDone), done
        self.agent_resources = dict(done.agent_resources)

    async def live(self, times: dict[str, list[float]], stages: dict[str, list[float]]) -> None:
        """One workspace from its creation to its deletion."""
        state, workspace_id = b"", str(uuid4())
        for name in TRANSITIONS:
            context = WorkspaceContext(
                access_url="http://127.0.0.1:7080",
                workspace_id=workspace_id,
                workspace_name="bench",
                build_id=str(uuid4()),
                template_id=str(uuid4()),
                template_name="bench",
                template_version="one",
                owner_id=str(uuid4()),
                owner_name="ann",
                owner_email="ann@example.com",
            )
            transition = name if name in ("stop", "delete") else "start"
            work = BuildJob(context, transition, state, {"size": "4"}, {"size": "4"}, self.agent_resources)
            started = time.perf_counter()
            done = await self.run(work)
            took_ms = (time.perf_counter() - started) * 1000
            assert isinstance(done, BuildDone), done
            times[name].append(took_ms)
            spans = {
                timing.stage: (timing.ended_at - timing.started_at).total_seconds() * 1000
                for timing in done.timings
                if not timing.resource
            }
            for stage, span_ms in spans.items():
                stages[stage].append(span_ms)
            stages["rest"].append(took_ms - sum(spans.values()))
            state = done.state

    async def run(self, work: ImportJob | BuildJob) -> object:
        """The result of one job."""
        return await run_job(self.tools, Job(uuid4(), uuid4(), uuid4(), self.archive, work), self.link, Stop())


def pack(text: str) -> bytes:
    """A tar with main.tf."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("main.tf")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@contextmanager
def _directories() -> Iterator[tuple[Path, Path]]:
    cache = Path(tempfile.mkdtemp(prefix="devyard-bench-"))
    try:
        with open_work_root(find_fast_directory(cache)) as root:
            yield cache, root
    finally:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main()
