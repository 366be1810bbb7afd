"""Repairs over the API, with builds run by hand on a real database."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from devyard.server.builds import actions
from devyard.server.db.pool import transaction
from devyard.server.jobs import results
from devyard.wire.provisionerlink import Failed, StateSaved
from tests.conftest import Api
from tests.db import workspace_factory as factory

INSTANCE = {"attributes": {"id": "7"}}
RESOURCES = [{"mode": "managed", "type": "t", "name": name, "instances": [INSTANCE]} for name in ("disk", "vm")]


def state(serial: int) -> bytes:
    return factory.state(serial, resources=RESOURCES)


class Dev:
    """A member's workspace."""

    def __init__(self, services: Any, client: httpx.AsyncClient, workspace: dict[str, Any]) -> None:
        self.services = services
        self.client = client
        self.path = f"/workspaces/{workspace['id']}"
        self.build_id = workspace["latest_build"]["id"]

    async def plan(self, **wish: Any) -> dict[str, Any]:
        reply = await self.client.get(f"{self.path}/repair", params=wish)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    async def repair(self, plan: dict[str, Any], **wish: Any) -> httpx.Response:
        reply = await self.client.post(f"{self.path}/repair", json={"plan_id": plan["id"], **wish})
        if reply.status_code == 201:
            self.build_id = reply.json()["id"]
        return reply

    async def begin(self, transition: str) -> None:
        reply = await self.client.post(f"{self.path}/builds", json={"transition": transition})
        assert reply.status_code == 201, reply.text
        self.build_id = reply.json()["id"]

    async def succeed(self, serial: int) -> Any:
        job, work = await factory.claim(self.services, self.build_id)
        await factory.finish(self.services, job, factory.done(job, state_bytes=state(serial)))
        return work

    async def fail(self, **options: Any) -> Any:
        job, work = await factory.claim(self.services, self.build_id)
        failed = Failed(job_id=job.id, lease_id=job.lease_id, seq=1, error="boom", **options)
        assert not await results.store_failed(self.services, failed)
        return work

    async def break_state(self) -> None:
        """As if the newest state had been damaged at rest."""
        await self.services.pool.execute(
            "UPDATE workspace_builds SET state = substr(state, 1, length(state) - 5) WHERE id = $1",
            UUID(self.build_id),
        )


@pytest.fixture
async def dev(api: Api, member: httpx.AsyncClient) -> Dev:
    owner_id, _ = await api.add_user("admin", "owner")
    template_id, _ = await factory.add_template(api.services, owner_id)
    reply = await member.post("/users/me/workspaces", json={"name": "dev", "template_id": str(template_id)})
    assert reply.status_code == 201, reply.text
    return Dev(api.services, member, reply.json())


async def test_the_owner_repairs_a_failed_start(dev: Dev) -> None:
    await dev.fail(state=state(2), possible_orphans=("t.x (being created)",))
    plan = await dev.plan(transition="stop")
    assert plan["is_needed"]
    assert plan["possible_orphans"] == ["t.x (being created)"]
    assert plan["recorded"] == ["t.disk", "t.vm"]
    assert [step["action"] for step in plan["steps"]] == ["build"]
    reply = await dev.repair(plan, transition="stop")
    assert reply.status_code == 201, reply.text
    assert (reply.json()["transition"], reply.json()["build_number"]) == ("stop", 2)
    work = await dev.succeed(3)
    assert (work.transition, work.refresh, work.state) == ("stop", True, state(2))
    assert not (await dev.plan())["is_needed"]
    row = await dev.services.pool.fetchrow(
        "SELECT diff FROM audit_logs WHERE resource_type = 'workspace' AND diff ? 'repair'"
    )
    assert "stops the workspace" in json.dumps(row["diff"])


async def test_a_plan_that_is_out_of_date_is_refused(dev: Dev) -> None:
    await dev.fail(state=state(2))
    plan = await dev.plan()
    assert (await dev.repair(plan, transition="delete")).status_code == 409, "another wish is another plan"
    await dev.begin("start")
    reply = await dev.repair(plan)
    assert reply.status_code == 409
    assert "changed" in reply.json()["message"]
    assert (await dev.repair(await dev.plan())).status_code == 400, "a build is under way"


async def test_a_damaged_state_gives_way_to_the_last_good_one(dev: Dev) -> None:
    await dev.succeed(2)
    await dev.begin("start")
    await dev.fail(state=state(3))
    await dev.break_state()
    plan = await dev.plan()
    assert [step["action"] for step in plan["steps"]] == ["restore_state", "build"]
    assert "build 1" in plan["steps"][0]["description"]
    broken = dev.build_id
    assert (await dev.repair(plan)).status_code == 201
    work = await dev.succeed(3)
    assert work.state == state(2)
    kept = await dev.services.pool.fetchval("SELECT state FROM workspace_builds WHERE id = $1", UUID(broken))
    assert kept, "the damaged one is still there"


async def test_a_job_that_nobody_runs_is_given_up(dev: Dev) -> None:
    job, _ = await factory.claim(dev.services, dev.build_id)
    saved = StateSaved(job_id=job.id, lease_id=job.lease_id or uuid4(), seq=1, state=state(2))
    assert not await results.store_state(dev.services, saved)
    assert not (await dev.plan())["is_needed"]
    await dev.services.pool.execute("UPDATE provisioner_jobs SET lease_expires_at = now() WHERE id = $1", job.id)
    plan = await dev.plan()
    assert [step["action"] for step in plan["steps"]] == ["give_up", "build"]
    given_up = dev.build_id
    assert (await dev.repair(plan)).status_code == 201
    old = (await dev.client.get(f"/workspacebuilds/{given_up}")).json()
    assert old["job"]["status"] == "failed"
    assert (await dev.succeed(3)).state == state(2)


async def test_what_is_gone_can_be_forgotten(dev: Dev) -> None:
    await dev.succeed(2)
    assert (await dev.client.get(f"{dev.path}/repair", params={"forget": "t.other"})).status_code == 400
    plan = await dev.plan(forget="t.vm", transition="start")
    assert [step["action"] for step in plan["steps"]] == ["forget", "build"]
    assert (await dev.repair(plan, forget=["t.vm"], transition="start")).status_code == 201
    work = await dev.succeed(5)
    found = msgspec.json.decode(work.state)
    assert [resource["name"] for resource in found["resources"]] == ["disk"]
    assert found["serial"] == 3


async def test_leaving_resources_is_the_owners_last_step_and_needs_consent(dev: Dev) -> None:
    await dev.succeed(2)
    wish: dict[str, Any] = {"transition": "delete", "leave": True}
    assert (await dev.client.get(f"{dev.path}/repair", params=wish)).status_code == 403
    await dev.begin("delete")
    await dev.fail()
    plan = await dev.plan(**wish)
    assert plan["needs_consent"]
    assert "t.disk, t.vm" in plan["steps"][-1]["description"]
    assert (await dev.repair(plan, **wish)).status_code == 400
    assert (await dev.repair(plan, **wish, accepts_leaving=True)).status_code == 201
    assert await dev.services.pool.fetchval("SELECT deleted_at IS NOT NULL FROM workspaces")


async def test_others_learn_nothing(api: Api, dev: Dev) -> None:
    stranger = await api.client((await api.add_user("sam"))[1])
    assert (await stranger.get(f"{dev.path}/repair")).status_code == 404
    assert (await stranger.post(f"{dev.path}/repair", json={"plan_id": "x"})).status_code == 404


async def test_a_state_of_a_failed_build_follows_the_last(dev: Dev) -> None:
    """The rule that repairs rely on: what is put with the next build is what its job begins with."""
    job, _ = await factory.claim(dev.services, dev.build_id)
    async with transaction(dev.services.pool) as connection:
        assert await actions.save_state(connection, dev.services, job, state(4))
        assert not await actions.save_state(connection, dev.services, job, state(3))
