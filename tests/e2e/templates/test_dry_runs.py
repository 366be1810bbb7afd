"""Imports with variables and dry runs over the API, by a whole server with its own provisioners."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.db.provisioners.fake import make_tar
from tests.e2e.main_job.conftest import Devyard, devyard

__all__ = ["devyard"]

pytestmark = pytest.mark.slow

TEMPLATE = """
variable "region" { type = string }
variable "token" {
  type      = string
  sensitive = true
}

data "devyard_workspace" "me" {}

data "devyard_parameter" "size" {
  name    = "size"
  type    = "number"
  default = "1"
  mutable = true
  validation {
    min = 1
    max = 8
  }
}

locals {
  numbers = range(data.devyard_parameter.size.value == "8" ? 512 : 2)
}

resource "devyard_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "terraform_data" "machine" {
  count            = data.devyard_workspace.me.start_count
  triggers_replace = devyard_agent.main.id
  # Takes seconds to plan with the largest size.
  input = sum([for i in local.numbers : sum([for j in local.numbers : i * j])])
}

resource "devyard_metadata" "machine" {
  count       = data.devyard_workspace.me.start_count
  resource_id = terraform_data.machine[0].id
  item {
    key   = "size"
    value = "${data.devyard_workspace.me.name} ${data.devyard_parameter.size.value} ${var.region}"
  }
}
"""
ENDED = {"succeeded", "failed", "canceled"}


@pytest.fixture(scope="module")
def client(devyard: Devyard) -> Iterator[httpx.Client]:
    """Signed in as the owner."""
    body = {"email": "ada@example.com", "password": devyard.password}
    with httpx.Client(base_url=f"{devyard.url}/api/v2", timeout=30) as client:
        client.headers["Coder-Session-Token"] = client.post("/users/login", json=body).json()["session_token"]
        yield client


def wait_job(client: httpx.Client, path: str, statuses: set[str] = ENDED) -> dict[str, Any]:
    """The job at a path, once it has one of the statuses."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(path).json()
        job: dict[str, Any] = found.get("job", found)
        if job["status"] in statuses:
            return job
        time.sleep(0.05)
    pytest.fail(f"{path} is still {job['status']}")


def push(client: httpx.Client, **values: str) -> tuple[str, dict[str, Any]]:
    """The path of a new version, and its job once it has ended."""
    upload = client.post(
        "/files", content=make_tar({"main.tf": TEMPLATE}), headers={"Content-Type": "application/x-tar"}
    )
    body = {
        "storage_method": "file",
        "provisioner": "terraform",
        "file_id": upload.json()["hash"],
        "user_variable_values": [{"name": name, "value": value} for name, value in values.items()],
    }
    reply = client.post("/organizations/default/templateversions", json=body)
    assert reply.status_code == 201, reply.text
    path = f"/templateversions/{reply.json()['id']}"
    return path, wait_job(client, path)


@pytest.fixture(scope="module")
def version(client: httpx.Client) -> str:
    """The path of an imported version."""
    path, job = push(client, region="north", token="hidden-word")
    assert job["status"] == "succeeded", job
    return path


def test_values_that_are_missing_or_of_no_variable_fail_the_import(client: httpx.Client) -> None:
    _, job = push(client)
    assert (job["status"], job["error_code"]) == ("failed", "REQUIRED_TEMPLATE_VARIABLES")
    assert "region, token" in job["error"]
    _, job = push(client, region="north", token="hidden-word", zone="a")
    assert job["status"] == "failed"
    assert "no variable named zone. It declares region, token." in job["error"]


def test_sensitive_values_are_not_told(client: httpx.Client, version: str) -> None:
    variables = {item["name"]: item for item in client.get(f"{version}/variables").json()}
    assert variables["region"]["value"] == "north"
    assert variables["token"]["value"] == ""
    assert variables["token"]["sensitive"]
    for path in ("", "/logs", "/resources", "/variables"):
        assert "hidden-word" not in client.get(version + path).text


def test_a_dry_run_plans_with_what_it_is_given(client: httpx.Client, version: str) -> None:
    body = {
        "workspace_name": "trial",
        "rich_parameter_values": [{"name": "size", "value": "3"}],
        "user_variable_values": [{"name": "region", "value": "south"}],
    }
    made = client.post(f"{version}/dry-run", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["type"] == "template_version_dry_run"
    path = f"{version}/dry-run/{made.json()['id']}"
    assert client.get(f"{path}/matched-provisioners").json()["count"] == 2
    job = wait_job(client, path)
    assert job["status"] == "succeeded", job
    resources = client.get(f"{path}/resources").json()
    assert [(item["key"], item["value"]) for r in resources for item in r["metadata"]] == [
        ("size", "trial 3 south")
    ]
    assert [agent["name"] for r in resources for agent in r["agents"]] == ["main"]
    logs = client.get(f"{path}/logs").json()
    assert any("Planning" in line["stage"] for line in logs)
    assert client.get(f"{path}/logs", params={"after": logs[-2]["id"]}).json() == logs[-1:]
    refused = client.patch(f"{path}/cancel")
    assert refused.status_code == 400
    assert client.get("/workspaces").json()["count"] == 0


def test_a_dry_run_with_a_wrong_value_fails_and_says_why(client: httpx.Client, version: str) -> None:
    made = client.post(f"{version}/dry-run", json={"rich_parameter_values": [{"name": "size", "value": "9"}]})
    path = f"{version}/dry-run/{made.json()['id']}"
    job = wait_job(client, path)
    assert job["status"] == "failed"
    assert "size" in job["error"]
    assert client.get(f"{path}/resources").json() == []
    assert client.post(f"{version}/dry-run", json={"workspace_name": "no blanks"}).status_code == 400


def test_a_dry_run_is_canceled(client: httpx.Client, version: str) -> None:
    made = client.post(f"{version}/dry-run", json={"rich_parameter_values": [{"name": "size", "value": "8"}]})
    path = f"{version}/dry-run/{made.json()['id']}"
    wait_job(client, path, {"running"})
    assert client.patch(f"{path}/cancel").status_code == 200
    assert wait_job(client, path)["status"] == "canceled"
    other = client.get(f"{version}/dry-run/{version.rpartition('/')[2]}")
    assert other.status_code == 404
