"""The queue: who is served first, where a job stands, and what becomes of one that nobody can take."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from devyard.server.db.pool import transaction
from devyard.server.jobs import lease_queries
from devyard.server.jobs.queries import list_queue_positions
from devyard.server.jobs.waiting import fail_hopeless
from tests.conftest import Api
from tests.db import workspace_factory as factory
from tests.db.provisioners.fake import create_version

EU = {"zone": "eu"}


@pytest.fixture
async def admin(api: Api) -> httpx.AsyncClient:
    """An owner's client."""
    return await api.client((await api.add_user("admin", "owner"))[1])


async def add_daemon(api: Api, name: str, tags: dict[str, str], age_s: float = 0) -> UUID:
    """A daemon that was seen some time ago."""
    daemon_id = uuid4()
    await api.services.pool.execute(
        "INSERT INTO provisioner_daemons (id, organization_id, name, tags, version, last_seen_at) "
        "VALUES ($1, $2, $3, $4, '1.0', now() - $5 * interval '1 second')",
        daemon_id,
        api.services.organization_id,
        name,
        tags,
        age_s,
    )
    return daemon_id


async def add_jobs(api: Api, count: int, tags: dict[str, str], priority: int = 0) -> list[UUID]:
    """Pending jobs, one after the other."""
    rows = await api.services.pool.fetch(
        """INSERT INTO provisioner_jobs (id, organization_id, initiator_id, type, file_id, template_version_id,
                                         tags, priority, created_at)
        SELECT gen_random_uuid(), j.organization_id, j.initiator_id, j.type, j.file_id, j.template_version_id, $2,
               $3, now() + n * interval '1 millisecond'
        FROM generate_series(1, $1) n, (SELECT * FROM provisioner_jobs WHERE status = 'succeeded' LIMIT 1) j
        RETURNING id""",
        count,
        tags,
        priority,
    )
    return [row["id"] for row in rows]


async def claim(api: Api, tags: dict[str, str]) -> UUID | None:
    """The job that a daemon with these tags is given."""
    async with transaction(api.services.pool) as connection:
        job = await lease_queries.claim_job(
            connection,
            organization_id=api.services.organization_id,
            tags=tags,
            worker_id=uuid4(),
            lease_id=uuid4(),
        )
    return job.id if job else None


async def test_people_first_then_the_oldest_and_only_by_tags(api: Api) -> None:
    owner_id, _ = await api.add_user("admin", "owner")
    await factory.add_template(api.services, owner_id)
    [background] = await add_jobs(api, 1, {}, priority=1)
    plain = await add_jobs(api, 2, {})
    tagged = await add_jobs(api, 1, EU)
    assert await claim(api, {"zone": "us"}) is None
    assert await claim(api, {**EU, "gpu": "1"}) == tagged[0]
    assert [await claim(api, {}) for _ in range(4)] == [*plain, background, None]


async def test_a_place_among_a_thousand(api: Api) -> None:
    """Jobs that share a provisioner share a queue; the statement reads the pending jobs by their index."""
    owner_id, _ = await api.add_user("admin", "owner")
    await factory.add_template(api.services, owner_id)
    await add_daemon(api, "plain", {})
    await add_daemon(api, "both", {**EU, "gpu": "1"})
    plain = await add_jobs(api, 600, {})
    eu = await add_jobs(api, 300, EU)
    gpu = await add_jobs(api, 100, {"gpu": "1"})
    [lonely] = await add_jobs(api, 1, {"zone": "moon"})
    [background] = await add_jobs(api, 1, {}, priority=1)
    asked = [plain[0], plain[599], background, eu[299], lonely]
    places = await list_queue_positions(api.services.pool, asked)
    assert places[plain[0]] == (1, 601)
    assert places[plain[599]] == (600, 601)
    assert places[background] == (601, 601)
    assert places[lonely] == (1, 1)
    position, size = places[eu[299]]
    assert (300 <= position <= 400, size) == (True, 400)
    assert set(await list_queue_positions(api.services.pool, gpu)) == set(gpu)
    await api.services.pool.execute("UPDATE provisioner_jobs SET status = 'canceled' WHERE id = $1", plain[0])
    assert (await list_queue_positions(api.services.pool, [plain[599]]))[plain[599]] == (599, 600)


async def test_nobody_hangs_for_ever(api: Api, admin: httpx.AsyncClient) -> None:
    hopeless = await create_version(admin, tags=EU)
    waiting = await create_version(admin)
    young = await create_version(admin, tags={"zone": "us"})
    await add_daemon(api, "busy", {})
    assert "zone=eu" in hopeless["matched_provisioners"]["reason"]
    old = [UUID(hopeless["job"]["id"]), UUID(waiting["job"]["id"])]
    await api.services.pool.execute(
        "UPDATE provisioner_jobs SET created_at = now() - interval '31 minutes' WHERE id = ANY($1)", old
    )
    assert await fail_hopeless(api.services) == 1
    ended = (await admin.get(f"/templateversions/{hopeless['id']}")).json()["job"]
    assert ended["status"] == "failed"
    assert "for 30 minutes" in ended["error"]
    assert '"busy" has no tag zone' in ended["error"]
    for version in (waiting, young):
        assert (await admin.get(f"/templateversions/{version['id']}")).json()["job"]["status"] == "pending"
    settings = msgspec.structs.replace(api.services.settings, max_wait_for_provisioner=timedelta(0))
    from dataclasses import replace

    assert await fail_hopeless(replace(api.services, settings=settings)) == 0


async def test_jobs_and_daemons_by_filter(api: Api, admin: httpx.AsyncClient) -> None:
    member_id, member_token = await api.add_user("mia")
    version = await create_version(admin, tags=EU)
    idle = await add_daemon(api, "idle", EU)
    await add_daemon(api, "gone", {}, age_s=3600)

    async def jobs(**query: Any) -> list[str]:
        reply = await admin.get("/organizations/default/provisionerjobs", params=query)
        assert reply.status_code == 200, reply.text
        return [job["id"] for job in reply.json()]

    job_id = version["job"]["id"]
    everything = {"status": "pending", "type": "template_version_import", "initiator": "me", "ids": job_id}
    assert await jobs(**everything, tags=json.dumps({**EU, "scope": "organization"})) == [job_id]
    assert await jobs(type="workspace_build") == []
    assert await jobs(initiator=str(member_id)) == []
    assert await jobs(status="running") == []
    for bad in ({"type": "x"}, {"status": "x"}, {"tags": "["}, {"ids": "x"}):
        assert (await admin.get("/organizations/default/provisionerjobs", params=bad)).status_code == 400
    one = (await admin.get(f"/organizations/default/provisionerjobs/{job_id}")).json()
    assert (one["available_workers"], one["queue_position"], one["queue_size"]) == ([str(idle)], 1, 1)
    mia = await api.client(member_token)
    assert (await mia.get(f"/organizations/default/provisionerjobs/{job_id}")).status_code == 404

    async def daemons(**query: Any) -> list[tuple[str, str]]:
        reply = await admin.get("/organizations/default/provisionerdaemons", params=query)
        assert reply.status_code == 200, reply.text
        return [(daemon["name"], daemon["status"]) for daemon in reply.json()]

    assert await daemons() == [("idle", "idle"), ("gone", "offline")]
    assert await daemons(offline=False) == [("idle", "idle")]
    assert await daemons(max_age="30m") == [("idle", "idle")]
    assert await daemons(status="offline", limit=1) == [("gone", "offline")]
    assert await daemons(tags=json.dumps(EU)) == [("idle", "idle")]
    assert await daemons(ids=str(uuid4())) == []
    assert (await admin.get("/organizations/default/provisionerdaemons?max_age=old")).status_code == 400
    await api.services.pool.execute(
        "UPDATE provisioner_jobs SET worker_id = $2, status = 'running' WHERE id = $1", UUID(job_id), idle
    )
    assert await daemons(status="busy") == [("idle", "busy")]


async def test_a_key_looks_itself_up(api: Api, admin: httpx.AsyncClient) -> None:
    body = {"name": "eu", "tags": EU}
    text = (await admin.post("/organizations/default/provisionerkeys", json=body)).json()["key"]
    anonymous = await api.client()
    headers = {"Coder-Provisioner-Daemon-Key": text}
    for name in ("me", "eu", text):
        found = await anonymous.get(f"/provisionerkeys/{name}", headers=headers)
        assert (found.status_code, found.json()["tags"]) == (200, EU)
        assert text not in found.text
    assert (await anonymous.get("/provisionerkeys/other", headers=headers)).status_code == 404
    assert (await anonymous.get("/provisionerkeys/me")).status_code == 401
    assert (await admin.get(f"/provisionerkeys/{text}")).status_code == 401
    listed = (await admin.get("/organizations/default/provisionerkeys/daemons")).json()
    assert [(item["key"]["name"], item["daemons"]) for item in listed] == [("eu", [])]
    assert (await admin.delete("/organizations/default/provisionerkeys/eu")).status_code == 204
    assert (await anonymous.get("/provisionerkeys/me", headers=headers)).status_code == 401
    assert datetime.fromisoformat(listed[0]["key"]["created_at"]) < datetime.now(UTC)
