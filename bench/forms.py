"""How fast a form follows what a user types: one change sent → its answer, by WebSocket, on a server of its own.

    python bench/forms.py [--rounds 100]

Three figures beside a bare `GET /buildinfo` and a `terraform version` in a process of its own of the same minutes:
one form alone, five forms at once, and five forms while workspaces are built. The template has options from
locals, a condition, a default and options that depend on another parameter, and a resource that no form needs.
"""

import argparse
import asyncio
import io
import itertools
import json
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import httpx
from benchserver import BenchServer
from websockets.asyncio.client import connect

TEMPLATE = """
terraform {
  required_providers {
    coder = { source = "coder/coder" }
  }
}
locals {
  regions = { eu = "Europe", us = "America", ap = "Asia" }
  sizes   = { eu = [1, 2], us = [4, 8], ap = [2, 4] }
  groups  = data.coder_workspace_owner.me.groups
}
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_parameter" "region" {
  name    = "region"
  default = "eu"
  mutable = true
  dynamic "option" {
    for_each = local.regions
    content {
      name  = option.value
      value = option.key
    }
  }
}
data "coder_parameter" "size" {
  name    = "size"
  type    = "number"
  default = local.sizes[data.coder_parameter.region.value][0]
  mutable = true
  dynamic "option" {
    for_each = local.sizes[data.coder_parameter.region.value]
    content {
      name  = "${option.value} cores"
      value = option.value
    }
  }
}
data "coder_parameter" "disk" {
  name    = "disk"
  type    = "number"
  default = contains(local.groups, "data") ? 100 : 10
  mutable = true
  validation {
    min = 1
    max = 200
  }
}
data "coder_parameter" "licence" {
  count   = data.coder_parameter.region.value == "us" ? 1 : 0
  name    = "licence"
  default = "L-1"
  mutable = true
}
resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}
resource "terraform_data" "machine" {
  input = [data.coder_parameter.size.value, data.coder_parameter.disk.value, coder_agent.main.token]
}
"""
CHANGES = ("eu", "us", "ap")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    rounds = min(parser.parse_args().rounds, 1000)
    with tempfile.TemporaryDirectory(prefix="devyard-bench-") as root:
        server = BenchServer(Path(root))
        process, _ = server.start()
        try:
            api = server.sign_in()
            figures = asyncio.run(measure(server.url, api, rounds))
        finally:
            server.stop(process)
    report(figures)


async def measure(url: str, api: httpx.Client, rounds: int) -> dict[str, list[float]]:
    version, template = push(api)
    path = f"{url}/api/v2/templateversions/{version}/dynamic-parameters".replace("http", "ws", 1)
    headers = {"Coder-Session-Token": api.headers["Coder-Session-Token"]}
    figures: dict[str, list[float]] = {"bare `GET /buildinfo`": measure_bare(api, rounds)}
    if terraform := shutil.which("terraform"):
        figures["`terraform version`, a process"] = measure_command([terraform, "version"], 10)
    async with connect(path, additional_headers=headers) as socket:
        await socket.recv()
        await fill(socket, 10)
        figures["form alone, a change"] = await fill(socket, rounds)
    await measure_five(path, headers, 5)  # both workers are warm then
    figures["five forms at once, a change"] = await measure_five(path, headers, rounds)
    building = asyncio.create_task(asyncio.to_thread(build, api, template, 4))
    figures["five forms while workspaces are built"] = await measure_five(path, headers, rounds)
    figures["a build meanwhile, queued → done"] = await building
    return figures


async def measure_five(path: str, headers: dict[str, str], rounds: int) -> list[float]:
    async def one() -> list[float]:
        async with connect(path, additional_headers=headers) as socket:
            await socket.recv()
            return await fill(socket, rounds // 5)

    return [value for values in await asyncio.gather(*(one() for _ in range(5))) for value in values]


async def fill(socket, rounds: int) -> list[float]:  # type: ignore[no-untyped-def]
    took = []
    for number, region in zip(range(rounds), itertools.cycle(CHANGES)):
        began = time.perf_counter()
        await socket.send(json.dumps({"id": number, "inputs": {"region": region, "disk": str(number % 100 + 1)}}))
        answer = json.loads(await socket.recv())
        took.append((time.perf_counter() - began) * 1000)
        names = {parameter["name"] for parameter in answer["parameters"]}
        if answer["id"] != number or ("licence" in names) != (region == "us"):
            raise SystemExit(f"a wrong answer: {answer}")
    return took


def measure_bare(api: httpx.Client, rounds: int) -> list[float]:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        api.get("/buildinfo").raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    return took


def measure_command(command: list[str], rounds: int) -> list[float]:
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took.append((time.perf_counter() - began) * 1000)
    return took


def push(api: httpx.Client) -> tuple[str, str]:
    """The template's version and id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("main.tf")
        info.size = len(TEMPLATE.encode())
        archive.addfile(info, io.BytesIO(TEMPLATE.encode()))
    headers = {"Content-Type": "application/x-tar"}
    file_id = api.post("/files", content=buffer.getvalue(), headers=headers).json()["hash"]
    body = {"storage_method": "file", "file_id": file_id, "provisioner": "terraform", "tags": {}}
    version = api.post("/organizations/default/templateversions", json=body).json()["id"]
    wait(api, f"/templateversions/{version}", "job")
    body = {"name": "forms", "template_version_id": version}
    return version, api.post("/organizations/default/templates", json=body).json()["id"]


def build(api: httpx.Client, template: str, count: int) -> list[float]:
    """Makes workspaces, stops and deletes them, one after the other."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        body = {"name": f"w{number}", "template_id": template}
        workspace = api.post("/users/me/workspaces", json=body).raise_for_status().json()["id"]
        wait(api, f"/workspaces/{workspace}", "latest_build", "job")
        took.append((time.perf_counter() - began) * 1000)
        for transition in ("stop", "delete"):
            began = time.perf_counter()
            reply = api.post(f"/workspaces/{workspace}/builds", json={"transition": transition})
            wait(api, f"/workspacebuilds/{reply.raise_for_status().json()['id']}", "job")
            took.append((time.perf_counter() - began) * 1000)
    return took


def wait(api: httpx.Client, path: str, *keys: str) -> None:
    for _ in range(6000):
        job = api.get(path).json()
        for key in keys:
            job = job[key]
        if job["status"] == "succeeded":
            return
        if job["status"] not in ("pending", "running"):
            raise SystemExit(f"{path}: {job}")
        time.sleep(0.01)
    raise SystemExit(f"{path} is not done after a minute")


def report(figures: dict[str, list[float]]) -> None:
    bare = statistics.median(figures["bare `GET /buildinfo`"])
    print("| what | median ms | p95 | min | max | × bare request |\n|---|---|---|---|---|---|")
    for name, values in figures.items():
        median, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        print(
            f"| {name} | {median:.1f} | {p95:.1f} | {min(values):.1f} | {max(values):.1f} | {median / bare:.1f} |"
        )


if __name__ == "__main__":
    main()
