"""The provisioners' socket over a real connection: claim, lease, logs, results, cancel, loss."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from devyard.server.jobs.loops import PERIOD_S, Reaper
from devyard.wire.provisionerlink import Cancel, Failed, ImportJob, Job, Ready, Renew, StateSaved, Stored
from tests.conftest import Api
from tests.db.provisioners.fake import (
    create_version,
    dry_run_done,
    import_done,
    make_tar,
    provisioner,
)


@pytest.fixture
async def admin(live_api: Api) -> httpx.AsyncClient:
    """An owner's client of the live server."""
    return await live_api.client((await live_api.add_user("admin", "owner"))[1])


async def wait_status(client: httpx.AsyncClient, version: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """The version once its job has one of the statuses."""
    async with asyncio.timeout(10):
        while True:
            found: dict[str, Any] = (await client.get(f"/templateversions/{version['id']}")).json()
            if found["job"]["status"] in statuses:
                return found
            await asyncio.sleep(0.02)


async def test_import_from_upload_to_parameters(live_api: Api, admin: httpx.AsyncClient) -> None:
    variables = [{"name": "region", "value": "eu"}]
    async with provisioner(live_api) as worker:
        await worker.register()
        await worker.send(Ready())
        version = await create_version(admin, user_variable_values=variables)
        assert version["job"]["status"] == "pending"
        job = await worker.expect(Job, timeout_s=2)  # woken, not polled
        assert isinstance(job.work, ImportJob)
        assert [(v.name, v.value) for v in job.work.variables] == [("region", "eu")]
        assert await worker.fetch(job) == make_tar()
        running = await wait_status(admin, version, "running")
        assert running["job"]["worker_name"] == "fake"
        await worker.log(job, "one", "two\0")
        await worker.send(import_done(job))
        assert (await worker.expect(Stored)).error == ""
        done = await wait_status(admin, version, "succeeded")
        assert done["readme"] == "# Read me"
        logs = (await admin.get(f"/templateversions/{version['id']}/logs")).json()
        assert [line["output"] for line in logs] == ["one", "two"]
        assert set(logs[0]) == {"id", "created_at", "log_source", "log_level", "stage", "output"}
        await worker.send(import_done(job))  # the acknowledgement was missed
        assert (await worker.expect(Stored)).error == ""
    parameters = (await admin.get(f"/templateversions/{version['id']}/rich-parameters")).json()
    assert [(p["name"], p["default_value"], p["required"]) for p in parameters] == [("size", "2", False)]
    resources = (await admin.get(f"/templateversions/{version['id']}/resources")).json()
    assert [(r["name"], r["workspace_transition"]) for r in resources] == [("x", "start")]


async def test_a_value_for_a_variable_that_there_is_not_fails_the_import(
    live_api: Api, admin: httpx.AsyncClient
) -> None:
    version = await create_version(admin, user_variable_values=[{"name": "regoin", "value": "eu"}])
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(import_done(job, variables=()))
        failed = await wait_status(admin, version, "failed")
    assert "no variable named regoin. It declares none." in failed["job"]["error"]


async def test_watcher_sees_lines_as_they_come(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    token = admin.headers["Coder-Session-Token"]
    url = f"{live_api.base_url}/api/v2/templateversions/{version['id']}/logs?follow".replace("http", "ws")
    async with (
        connect(url, additional_headers={"Cookie": f"coder_session_token={token}"}) as watcher,
        provisioner(live_api) as worker,
    ):
        await worker.register()
        job = await worker.take()
        for text in ("first", "second"):
            await worker.log(job, text)
            async with asyncio.timeout(2):
                assert msgspec.json.decode(await watcher.recv())["output"] == text
        await worker.send(import_done(job))
        async with asyncio.timeout(2):
            assert [line async for line in watcher] == []
        assert watcher.close_code == 1000


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Coder-Session-Token": "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB"}, 401), ({"member": "1"}, 404)],
)
async def test_refused_watchers_get_a_status_and_a_body(
    live_api: Api, admin: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    version = await create_version(admin)
    if "member" in headers:
        headers = {"Coder-Session-Token": (await live_api.add_user("mia"))[1]}
    url = f"{live_api.base_url}/api/v2/templateversions/{version['id']}/logs?follow".replace("http", "ws")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers=headers):
            pass
    assert refused.value.response.status_code == status
    assert "message" in msgspec.json.decode(refused.value.response.body)


async def test_websocket_from_a_foreign_page_is_refused(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    cookie = f"coder_session_token={admin.headers['Coder-Session-Token']}"
    url = f"{live_api.base_url}/api/v2/templateversions/{version['id']}/logs?follow".replace("http", "ws")
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers={"Cookie": cookie}, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_wrong_keys_are_refused(live_api: Api) -> None:
    for key in ("", "wrong"):
        with pytest.raises(InvalidStatus) as refused:
            async with provisioner(live_api, key=key):
                pass
        assert refused.value.response.status_code == 401


async def test_tags_decide_who_takes_a_job(live_api: Api, admin: httpx.AsyncClient) -> None:
    key = await admin.post("/organizations/default/provisionerkeys", json={"name": "eu", "tags": {"zone": "eu"}})
    assert key.status_code == 201, key.text
    tagged = await create_version(admin, tags={"zone": "eu"})
    plain = await create_version(admin)
    async with (
        provisioner(live_api) as untagged,
        provisioner(live_api, key=key.json()["key"]) as european,
    ):
        await untagged.register()
        await european.register(tags={"ignored": "yes"})
        assert str((await untagged.take()).template_version_id) == plain["id"]
        assert str((await european.take()).template_version_id) == tagged["id"]
        daemons = (await admin.get("/organizations/default/provisionerdaemons")).json()
        assert {(d["key_name"], d["status"]) for d in daemons} == {("built-in", "busy"), ("eu", "busy")}
        assert daemons[0]["current_job"]["status"] == "running"
        await admin.delete("/organizations/default/provisionerkeys/eu")
        with pytest.raises(ConnectionClosedError):
            await european.expect(Job, timeout_s=12)


async def test_two_provisioners_never_take_one_job(live_api: Api, admin: httpx.AsyncClient) -> None:
    versions = [await create_version(admin) for _ in range(4)]
    taken: list[UUID] = []

    async def work() -> None:
        async with provisioner(live_api) as worker:
            await worker.register()
            for _ in range(2):
                job = await worker.take()
                taken.append(job.template_version_id)
                await worker.send(import_done(job))
                await worker.expect(Stored)

    await asyncio.gather(work(), work())
    assert sorted(map(str, taken)) == sorted(version["id"] for version in versions)


async def test_cancel_of_a_pending_job_is_at_once(admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    reply = await admin.patch(f"/templateversions/{version['id']}/cancel")
    assert reply.status_code == 200, reply.text
    found = (await admin.get(f"/templateversions/{version['id']}")).json()
    assert found["job"]["status"] == "canceled"
    assert (await admin.patch(f"/templateversions/{version['id']}/cancel")).status_code == 412


async def test_cancel_of_a_running_job_is_asked_then_forced(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await admin.patch(f"/templateversions/{version['id']}/cancel")
        assert await worker.expect(Cancel, timeout_s=2) == Cancel(job.job_id, force=False)
        await live_api.services.pool.execute(
            "UPDATE provisioner_jobs SET canceled_at = now() - interval '31 seconds' WHERE id = $1", job.job_id
        )
        assert await worker.expect(Cancel, timeout_s=8) == Cancel(job.job_id, force=True)
        failed = Failed(job_id=job.job_id, lease_id=job.lease_id, seq=1, error="canceled", outcome="canceled")
        await worker.send(failed)
        assert (await worker.expect(Stored)).error == ""
    await wait_status(admin, version, "canceled")


async def test_a_job_is_resumed_after_a_reconnect(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    daemon_id = uuid4()
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register()
        job = await worker.take()
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register(resume=(job.job_id, job.lease_id))
        await worker.log(job, "still here")
        await worker.send(import_done(job))
        assert (await worker.expect(Stored)).error == ""
    await wait_status(admin, version, "succeeded")


async def test_a_lost_job_fails_with_a_sentence_and_its_late_result_is_refused(
    live_api: Api, admin: httpx.AsyncClient
) -> None:
    version = await create_version(admin)
    daemon_id = uuid4()
    clock = [0.0]
    reaper = Reaper(live_api.services, lambda: clock[0])
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register()
        job = await worker.take()
        await live_api.services.pool.execute(
            "UPDATE provisioner_jobs SET lease_expires_at = now() - interval '16 seconds' WHERE id = $1",
            job.job_id,
        )
        await reaper.run_round()
        assert (await admin.get(f"/templateversions/{version['id']}")).json()["job"]["status"] == "running"
        for _ in range(6):
            clock[0] += PERIOD_S
            await reaper.run_round()
        found = await wait_status(admin, version, "failed")
        assert "was lost" in found["job"]["error"]
        await worker.send(Renew(job.job_id, job.lease_id))
        assert "lease" in (await worker.expect(Stored)).error
        await worker.send(import_done(job))
        assert "lease" in (await worker.expect(Stored)).error
    assert (await admin.get(f"/templateversions/{version['id']}")).json()["job"]["status"] == "failed"


async def test_a_bad_result_fails_the_job(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        parameter = import_done(job).parameters[0]
        await worker.send(import_done(job, parameters=(parameter, parameter)))
        assert (await worker.expect(Stored)).error == ""
    found = await wait_status(admin, version, "failed")
    assert '"size"' in found["job"]["error"]


async def test_state_counts_only_for_builds_and_under_a_lease(live_api: Api, admin: httpx.AsyncClient) -> None:
    await create_version(admin)
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(StateSaved(job.job_id, job.lease_id, 1, b"{}"))
        assert (await worker.expect(Stored)).error
        await worker.send(StateSaved(job.job_id, uuid4(), 2, b"{}"))
        assert "lease" in (await worker.expect(Stored)).error


async def test_logs_are_bounded(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        for _ in range(30):
            await worker.log(job, "x" * 60_000)
        await worker.send(import_done(job))
        await worker.expect(Stored)
    found = await wait_status(admin, version, "succeeded")
    assert found["job"]["logs_overflowed"] is True
    logs = (await admin.get(f"/templateversions/{version['id']}/logs")).json()
    assert sum(len(line["output"]) for line in logs) <= 1 << 20
    assert "not kept" in logs[-1]["output"]


async def test_dry_run(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    path = f"/templateversions/{version['id']}/dry-run"
    assert (await admin.post(path, json={"workspace_name": "dev"})).status_code == 412
    async with provisioner(live_api) as worker:
        await worker.register()
        await worker.send(import_done(await worker.take()))
        await worker.expect(Stored)
        body = {"workspace_name": "dev", "rich_parameter_values": [{"name": "size", "value": "4"}]}
        reply = await admin.post(path, json=body)
        assert reply.status_code == 201, reply.text
        run = f"{path}/{reply.json()['id']}"
        matched = (await admin.get(f"{run}/matched-provisioners")).json()
        assert (matched["count"], matched["available"]) == (1, 1)
        assert (await admin.get(f"{run}/resources")).status_code == 412
        job = await worker.take()
        assert job.work.parameters == {"size": "4"}  # type: ignore[union-attr]
        assert job.work.context.workspace_name == "dev"
        await worker.log(job, "planned")
        await worker.send(dry_run_done(job))
        await worker.expect(Stored)
        assert (await admin.get(run)).json()["status"] == "succeeded"
        assert [r["name"] for r in (await admin.get(f"{run}/resources")).json()] == ["x"]
        assert [line["output"] for line in (await admin.get(f"{run}/logs")).json()] == ["planned"]
        jobs = (await admin.get("/organizations/default/provisionerjobs?status=succeeded")).json()
        assert [j["type"] for j in jobs] == ["template_version_dry_run", "template_version_import"]
        assert jobs[0]["metadata"]["template_version_name"] == version["name"]
