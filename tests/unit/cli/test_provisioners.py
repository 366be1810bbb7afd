"""`devyard provisioner keys` and `jobs`."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from devyard.wire.jobs import JobInput, ProvisionerKey, ProvisionerKeyDaemons
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import NOW, FakeApi, make_job

ORGANIZATION = uuid4()
KEYS = f"/organizations/{ORGANIZATION}/provisionerkeys"


@pytest.fixture
def yard(signed_in: FakeApi) -> FakeApi:
    organization = {
        "id": str(ORGANIZATION),
        "name": "default",
        "display_name": "",
        "icon": "",
        "description": "",
        "created_at": NOW.isoformat(),
        "updated_at": NOW.isoformat(),
        "is_default": True,
    }
    signed_in.on("GET /users/me/organizations", (200, [organization]))
    return signed_in


def test_a_key_is_alone_on_stdout(cli: Cli, yard: FakeApi) -> None:
    yard.on(f"POST {KEYS}", (201, {"key": "the-text"}))
    done = cli("provisioner", "keys", "create", "eu", "--tag", "cluster=eu", "-t", "a=b=c")
    assert (done.status, done.out) == (0, "the-text\n")
    assert yard.bodies(f"POST {KEYS}") == [{"name": "eu", "tags": {"cluster": "eu", "a": "b=c"}}]


def test_a_key_that_can_not_be_made_is_explained(cli: Cli, yard: FakeApi) -> None:
    yard.on(f"POST {KEYS}", (409, {"message": "taken", "code": "conflict"}))
    done = cli("provisioner", "keys", "create", "eu")
    assert (done.status, done.out) == (1, "")
    assert "There is a key 'eu' already." in done.err
    assert "--tag NAME=VALUE" in cli("provisioner", "key", "create", "eu", "-t", "bare").err


def test_keys_are_listed_and_deleted(cli: Cli, yard: FakeApi) -> None:
    key = ProvisionerKey(uuid4(), NOW, ORGANIZATION, "eu", {"b": "2", "a": "1"})
    yard.on(f"GET {KEYS}", (200, [key]))
    yard.on(f"GET {KEYS}/daemons", (200, [ProvisionerKeyDaemons(key, [])]))
    assert "a=1 b=2" in cli("provisioner", "keys", "ls").out
    asked = cli("provisioner", "keys", "delete", "eu")
    assert asked.status == 1
    assert "--yes" in asked.err
    yard.on(f"DELETE {KEYS}/eu", (204, None))
    assert cli("provisioner", "keys", "rm", "eu", "-y").status == 0
    assert "There is no key 'us'" in cli("provisioner", "keys", "delete", "us", "--yes").err
    assert [a.path for a in yard.asked if a.method == "DELETE"] == [f"{KEYS}/eu", f"{KEYS}/us"]


VERSION, BUILD = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"input": JobInput(workspace_build_id=BUILD)}, f"/workspacebuilds/{BUILD}/cancel"),
        (
            {"type": "template_version_import", "input": JobInput(template_version_id=VERSION)},
            f"/templateversions/{VERSION}/cancel",
        ),
        (
            {"type": "template_version_dry_run", "input": JobInput(template_version_id=VERSION), "id": BUILD},
            f"/templateversions/{VERSION}/dry-run/{BUILD}/cancel",
        ),
    ],
)
def test_a_job_is_canceled_by_what_it_is_about(
    cli: Cli, yard: FakeApi, changes: dict[str, Any], path: str
) -> None:
    job = make_job("running", **changes)
    yard.on(f"GET {_job(job.id)}", (200, job))
    yard.on(f"PATCH {path}", (200, {"message": ""}))
    assert cli("provisioner", "jobs", "cancel", str(job.id)).status == 0
    assert [a.path for a in yard.asked if a.method == "PATCH"] == [path]


def test_a_job_that_has_ended_or_is_not_there(cli: Cli, yard: FakeApi) -> None:
    job = make_job("failed")
    yard.on(f"GET {_job(job.id)}", (200, job))
    assert "it is failed" in cli("provisioner", "jobs", "cancel", str(job.id)).err
    missing = uuid4()
    assert f"There is no job {missing}" in cli("provisioner", "job", "cancel", str(missing)).err
    assert [a for a in yard.asked if a.method == "PATCH"] == []


def _job(job_id: UUID) -> str:
    return f"/organizations/{ORGANIZATION}/provisionerjobs/{job_id}"
