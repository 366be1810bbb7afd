"""What the server makes of provisioners that die, of messages that come twice, and of states that come late."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from devyard.server.jobs import lease_queries
from devyard.server.jobs.loops import PERIOD_S, Reaper
from devyard.wire.provisionerlink import (
    LEASE_S,
    BuildJob,
    Failed,
    InFlight,
    Job,
    JobLogLine,
    Logs,
    LostState,
    Ready,
    Renew,
    StateSaved,
    Stored,
)
from tests.conftest import Api
from tests.db import workspace_factory as factory
from tests.db.provisioners.fake import create_version, import_done, provisioner

MADE, BEGUN, PLANNED = "t.made (id 7)", "t.begun (being created)", "t.next (planned, not known to be begun)"


@pytest.fixture
async def admin(live_api: Api) -> httpx.AsyncClient:
    """An owner's client of the live server."""
    return await live_api.client((await live_api.add_user("admin", "owner"))[1])


class Dev:
    """A member's workspace whose builds are run by hand."""

    def __init__(self, client: httpx.AsyncClient, workspace: dict[str, Any]) -> None:
        self.client = client
        self.id = workspace["id"]
        self.build_id = workspace["latest_build"]["id"]

    async def load(self) -> dict[str, Any]:
        """The latest known build."""
        found: dict[str, Any] = (await self.client.get(f"/workspacebuilds/{self.build_id}")).json()
        return found

    async def begin(self, transition: str) -> None:
        """The next build."""
        reply = await self.client.post(f"/workspaces/{self.id}/builds", json={"transition": transition})
        assert reply.status_code == 201, reply.text
        self.build_id = reply.json()["id"]

    async def read_log(self) -> list[str]:
        """What the log says."""
        lines = (await self.client.get(f"/workspacebuilds/{self.build_id}/logs")).json()
        return [line["output"] for line in lines]


@pytest.fixture
async def dev(live_api: Api, admin: httpx.AsyncClient) -> Dev:
    """A workspace with its first build pending."""
    owner_id = (await admin.get("/users/me")).json()["id"]
    template_id, _ = await factory.add_template(live_api.services, UUID(owner_id))
    body = {"name": "dev", "template_id": str(template_id)}
    return Dev(admin, (await admin.post("/users/me/workspaces", json=body)).json())


async def read_state(services: Any, build_id: str) -> tuple[str, int]:
    row = await services.pool.fetchrow(
        "SELECT state_lineage, state_serial FROM workspace_builds WHERE id = $1", UUID(build_id)
    )
    return row["state_lineage"], row["state_serial"]


async def give_up(services: Any, job: Job) -> None:
    """As the reaper does, half a minute later."""
    clock = [0.0]
    reaper = Reaper(services, lambda: clock[0])
    await services.pool.execute(
        "UPDATE provisioner_jobs SET lease_expires_at = now() - $2::int * interval '1 second' WHERE id = $1",
        job.job_id,
        lease_queries.GRACE_S + 1,
    )
    for _ in range(7):
        await reaper.run_round()
        clock[0] += PERIOD_S


def test_a_lost_provisioner_is_noticed_within_half_a_minute() -> None:
    assert LEASE_S + lease_queries.GRACE_S + PERIOD_S <= 28
    # After a restart of the server or a pause of its database, provisioners get a lease to come back first.
    assert LEASE_S + 2 * PERIOD_S <= 28


async def test_log_lines_that_come_again_are_kept_once(live_api: Api, admin: httpx.AsyncClient) -> None:
    version = await create_version(admin)
    daemon_id = uuid4()

    def lines(job: Job, seq: int, *texts: str) -> Logs:
        made = tuple(JobLogLine(datetime.now(UTC), "provisioner", "info", "Plan", text) for text in texts)
        return Logs(job.job_id, job.lease_id, made, seq)

    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(lines(job, 1, "a", "b"))
        assert await worker.expect(Stored) == Stored(job.job_id, 1)
        await worker.send(lines(job, 3, "c"))
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register(resume=(job.job_id, job.lease_id))
        for seq, text in ((1, "a again"), (3, "c"), (4, "d")):
            await worker.send(lines(job, seq, text))
            assert await worker.expect(Stored) == Stored(job.job_id, seq)
        await worker.send(import_done(job))
        await worker.expect(Stored)
        await worker.send(lines(job, 5, "late"))
        assert (await worker.expect(Stored)).seq == 5
    logs = (await admin.get(f"/templateversions/{version['id']}/logs")).json()
    assert [line["output"] for line in logs] == ["a", "b", "c", "d"]


async def test_a_job_that_never_reached_its_provisioner_goes_back_to_the_queue(
    live_api: Api, admin: httpx.AsyncClient
) -> None:
    await create_version(admin)
    daemon_id = uuid4()
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register()
        lost = await worker.take()  # imagine that it was cut off before this came
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register()
        again = await worker.take()
    assert (again.job_id, again.lease_id == lost.lease_id) == (lost.job_id, False)
    async with provisioner(live_api, daemon_id=daemon_id) as worker:
        await worker.register(resume=(again.job_id, again.lease_id))
        await worker.send(import_done(again))
        assert (await worker.expect(Stored)).error == ""


async def test_a_lost_provisioners_orphans_are_named_by_the_server(live_api: Api, dev: Dev) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(
            InFlight(job.job_id, job.lease_id, (MADE, BEGUN), ("t.old (being removed)",), (PLANNED,))
        )
        await worker.send(StateSaved(job.job_id, job.lease_id, 1, factory.state(1)))
        await worker.expect(Stored)
    await give_up(live_api.services, job)
    build = await dev.load()
    assert build["job"]["status"] == "failed"
    assert build["possible_orphans"] == [MADE, BEGUN, PLANNED]
    assert "was lost" in build["job"]["error"]
    assert all(name in build["job"]["error"] for name in (MADE, BEGUN))
    assert any(BEGUN in line for line in await dev.read_log())
    await dev.begin("stop")
    async with provisioner(live_api) as worker:
        await worker.register()
        work = (await worker.take()).work
        assert isinstance(work, BuildJob)
        assert work.state == factory.state(1)


async def test_what_a_killed_provisioner_left_ends_the_job_at_once(live_api: Api, dev: Dev) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(InFlight(job.job_id, job.lease_id, (BEGUN,)))
        await worker.send(Renew(job.job_id, job.lease_id))
    async with provisioner(live_api) as successor:
        await successor.register()
        left = LostState(
            job.job_id, job.lease_id, 0, factory.state(4), "It was killed in the middle of it.", (MADE,)
        )
        await successor.send(left)
        assert await successor.expect(Stored) == Stored(job.job_id, 0)
        build = await dev.load()
        assert build["job"]["status"] == "failed"
        assert build["job"]["error"].startswith("It was killed in the middle of it.")
        assert build["possible_orphans"] == [MADE]
        assert await read_state(live_api.services, dev.build_id) == ("line", 4)
        await successor.send(left)  # the acknowledgement was missed
        assert (await successor.expect(Stored)).error == ""


@pytest.mark.parametrize(
    ("serial", "lineage", "kept"), [(6, "line", 6), (2, "line", 2), (1, "line", 2), (6, "other", 2)]
)
async def test_a_late_state_is_taken_where_it_continues_the_last(
    live_api: Api, dev: Dev, serial: int, lineage: str, kept: int
) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await worker.send(InFlight(job.job_id, job.lease_id, ("t.saved (being created)", BEGUN)))
        await worker.send(StateSaved(job.job_id, job.lease_id, 1, factory.state(2)))
        await worker.expect(Stored)
    await give_up(live_api.services, job)
    saved = {"mode": "managed", "type": "t", "name": "saved", "instances": [{"attributes": {}}]}
    async with provisioner(live_api) as successor:
        await successor.register()
        state = factory.state(serial, lineage, resources=[saved])
        await successor.send(LostState(job.job_id, job.lease_id, 0, state))
        answer = await successor.expect(Stored)
    assert bool(answer.error) == (lineage == "other"), "nothing is lost of an older one"
    assert (await read_state(live_api.services, dev.build_id))[1] == kept
    assert any("newer Terraform state" in line for line in await dev.read_log()) == (kept == 6)
    build = await dev.load()
    assert build["possible_orphans"] == ([BEGUN] if kept == 6 else ["t.saved (being created)", BEGUN])
    assert ("t.saved" in build["job"]["error"]) == (kept != 6)
    assert BEGUN in build["job"]["error"]


async def test_a_late_state_is_refused_once_another_build_has_begun(live_api: Api, dev: Dev) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
    await give_up(live_api.services, job)
    first = dev.build_id
    await dev.begin("start")
    async with provisioner(live_api) as successor:
        await successor.register()
        await successor.send(LostState(job.job_id, job.lease_id, 0, factory.state(2)))
        assert "Another build" in (await successor.expect(Stored)).error
        await successor.send(LostState(job.job_id, uuid4(), 0, factory.state(2)))
        assert "lease" in (await successor.expect(Stored)).error
    assert await read_state(live_api.services, first) == ("", -1)


async def test_a_provisioner_of_another_organization_can_bring_nothing(live_api: Api, dev: Dev) -> None:
    from devyard.server.jobs import results

    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        message = LostState(job.job_id, job.lease_id, 0, factory.state(2))
        assert "lease" in await results.store_left(live_api.services, uuid4(), message)
    assert (await dev.load())["job"]["status"] == "running"


async def test_a_job_that_does_not_answer_to_cancel_loses_its_lease(live_api: Api, dev: Dev) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        await dev.client.patch(f"/workspacebuilds/{dev.build_id}/cancel")
        await live_api.services.pool.execute(
            "UPDATE provisioner_jobs SET canceled_at = now() - $1::int * interval '1 second'",
            lease_queries.CANCEL_PATIENCE_S + 1,
        )
        await worker.send(Renew(job.job_id, job.lease_id))
        while (answer := await worker.expect_any()) and not isinstance(answer, Stored):
            pass
        assert "lease" in answer.error
    await give_up(live_api.services, job)
    assert (await dev.load())["job"]["status"] == "canceled"


async def test_a_failure_brings_its_orphans(live_api: Api, dev: Dev) -> None:
    async with provisioner(live_api) as worker:
        await worker.register()
        job = await worker.take()
        failed = Failed(job_id=job.job_id, lease_id=job.lease_id, seq=1, error="boom", possible_orphans=(MADE,))
        await worker.send(failed)
        await worker.expect(Stored)
        await worker.send(Ready())
    build = await dev.load()
    assert build["possible_orphans"] == [MADE]
    assert build["job"]["error"].count(MADE) == 1
    row = await live_api.services.pool.fetchrow("SELECT in_flight FROM provisioner_jobs WHERE id = $1", job.job_id)
    assert row["in_flight"] == {}
