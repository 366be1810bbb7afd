"""What a build's job is given and what its result leaves in a real database."""

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from devyard.server.access.rules import Actor, RequestInfo
from devyard.server.agents.queries import STATUS_SQL
from devyard.server.agents.rules import AgentTimes, decide_status
from devyard.server.builds import actions, create, queries
from devyard.server.db.pool import transaction
from devyard.server.jobs import results
from devyard.server.workspaces.actions import create_workspace
from devyard.wire.errors import Invalid
from devyard.wire.provisionerlink import Failed, StateSaved
from devyard.wire.workspaces import CreateBuildRequest, CreateWorkspaceRequest
from tests.db import workspace_factory as factory


@pytest.fixture
async def place(api: Any) -> tuple[Any, Actor, UUID]:
    """Services, a member, and a template."""
    owner_id, _ = await api.add_user("admin", "owner")
    user_id, _ = await api.add_user("mia")
    template_id, _ = await factory.add_template(api.services, owner_id)
    actor = Actor(
        user_id=user_id,
        username="mia",
        site_roles=(),
        organization_ids=(api.services.organization_id,),
        request=RequestInfo(request_id=user_id),
    )
    return api.services, actor, template_id


async def start(place: tuple[Any, Actor, UUID]) -> tuple[UUID, UUID]:
    """A workspace with its first, pending build: (workspace, build)."""
    services, actor, template_id = place
    request = CreateWorkspaceRequest(name="dev", template_id=template_id)
    workspace_id = await create_workspace(services, actor, actor.user_id, request)
    build_id = await services.pool.fetchval("SELECT latest_build_id FROM workspaces WHERE id = $1", workspace_id)
    return workspace_id, build_id


async def next_build(place: tuple[Any, Actor, UUID], workspace_id: UUID, transition: Any) -> UUID:
    services, actor, _ = place
    build = await create.create_build(services, actor, workspace_id, CreateBuildRequest(transition=transition))
    return build.id


async def fail(services: Any, job: Any, **options: Any) -> None:
    async with transaction(services.pool) as connection:
        result = Failed(job_id=job.id, lease_id=job.lease_id, seq=1, error="boom", **options)
        await actions.fail_build(connection, services, job, result)
        await connection.execute(
            "UPDATE provisioner_jobs SET status = $2, completed_at = now() WHERE id = $1", job.id, result.outcome
        )


async def test_context_and_session_token(api: Any, place: tuple[Any, Actor, UUID]) -> None:
    services, actor, template_id = place
    workspace_id, build_id = await start(place)
    job, work = await factory.claim(services, build_id)
    context = work.context
    assert (context.workspace_id, context.workspace_name) == (str(workspace_id), "dev")
    assert (context.owner_name, context.template_id) == ("mia", str(template_id))
    assert (work.transition, work.state) == ("start", b"")
    client = await api.client(context.owner_session_token)
    assert (await client.get(f"/workspaces/{workspace_id}")).status_code == 200
    secret = context.owner_session_token.partition("-")[2]
    row = await services.pool.fetchrow("SELECT * FROM api_keys WHERE workspace_build_id = $1", build_id)
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).digest()
    await factory.finish(services, job, factory.done(job))

    stop_id = await next_build(place, workspace_id, "stop")
    job, work = await factory.claim(services, stop_id)
    assert (work.context.owner_session_token, work.state) == ("", factory.state(1))
    assert (await client.get(f"/workspaces/{workspace_id}")).status_code == 401
    assert actor.user_id


async def test_states_only_grow(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    _, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)

    async def save(state: bytes) -> bool:
        async with transaction(services.pool) as connection:
            return await actions.save_state(connection, services, job, state)

    assert await save(factory.state(3))
    assert not await save(factory.state(3))
    assert not await save(factory.state(2))
    assert not await save(factory.state(4, "other"))
    assert await save(factory.state(4))
    with pytest.raises(Invalid):
        await save(b"not a state")
    # A provisioner that takes over begins where the lost one has saved.
    async with transaction(services.pool) as connection:
        work = await actions.load_build_work(connection, services, job)
    assert work.state == factory.state(4)
    assert (
        await services.pool.fetchval("SELECT count(*) FROM api_keys WHERE workspace_build_id = $1", build_id) == 1
    )


async def test_result_with_an_older_state_changes_nothing(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    _, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)
    async with transaction(services.pool) as connection:
        assert await actions.save_state(connection, services, job, factory.state(5))
    for result in (factory.done(job, serial=4), factory.done(job, serial=6, lineage="other")):
        with pytest.raises(Invalid):
            await factory.finish(services, job, result)
    assert await services.pool.fetchval("SELECT count(*) FROM workspace_resources") == 0
    await factory.finish(services, job, factory.done(job, serial=5, tokens=("a", "b")))
    assert await services.pool.fetchval("SELECT count(*) FROM workspace_agents") == 2
    assert await services.pool.fetchval("SELECT is_active FROM workspace_builds WHERE id = $1", build_id) is False


async def test_agents_with_one_name_are_refused(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    _, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)
    done = factory.done(job)
    agents = (factory.agent("a", "main"), factory.agent("b", "Main"))
    resource = msgspec.structs.replace(done.resources[0], agents=agents)
    with pytest.raises(Invalid):
        await factory.finish(services, job, msgspec.structs.replace(done, resources=(resource,)))


async def test_failure_keeps_newer_state_and_names_orphans(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    workspace_id, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)
    await fail(services, job, state=factory.state(2), possible_orphans=("docker_container.dev",))
    row = await services.pool.fetchrow(
        "SELECT b.is_active, j.error FROM workspace_builds b JOIN provisioner_jobs j ON j.id = b.job_id"
    )
    assert row["is_active"] is False
    assert "docker_container.dev" in row["error"]
    build_id = await next_build(place, workspace_id, "delete")
    job, work = await factory.claim(services, build_id)
    assert work.state == factory.state(2)
    await fail(services, job, outcome="canceled", state=b"broken")
    assert await services.pool.fetchval("SELECT deleted_at FROM workspaces") is None
    build_id = await next_build(place, workspace_id, "delete")
    job, work = await factory.claim(services, build_id)
    assert work.state == factory.state(2)
    await factory.finish(services, job, factory.done(job, serial=3))
    assert await services.pool.fetchval("SELECT deleted_at IS NOT NULL FROM workspaces")


async def test_results_under_a_lost_lease_are_dropped(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    _, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)
    stale = msgspec.structs.replace(job, lease_id=uuid4())
    assert await results.store_done(services, factory.done(stale, tokens=("t",)))
    saved = StateSaved(job_id=job.id, lease_id=uuid4(), seq=1, state=factory.state(1))
    assert await results.store_state(services, saved)
    row = await services.pool.fetchrow("SELECT is_active, state FROM workspace_builds WHERE id = $1", build_id)
    assert (row["is_active"], row["state"]) == (True, b"")
    assert await services.pool.fetchval("SELECT count(*) FROM workspace_agents") == 0
    assert not await results.store_done(services, factory.done(job, tokens=("t",)))
    assert await services.pool.fetchval("SELECT count(*) FROM workspace_agents") == 1


async def test_refused_result_fails_the_build(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    workspace_id, build_id = await start(place)
    job, _ = await factory.claim(services, build_id)
    done = factory.done(job)
    twins = (factory.agent("a", "main"), factory.agent("b", "main"))
    resource = msgspec.structs.replace(done.resources[0], agents=twins)
    assert not await results.store_done(services, msgspec.structs.replace(done, resources=(resource,)))
    ended = await services.pool.fetchrow(
        "SELECT j.status, j.error, b.is_active FROM provisioner_jobs j JOIN workspace_builds b ON b.job_id = j.id"
    )
    assert (ended["status"], ended["is_active"]) == ("failed", False)
    assert (await queries.get_newest_state(services.pool, workspace_id, 1)).state == factory.state(1)
    assert "Two agents" in ended["error"]
    assert await next_build(place, workspace_id, "start")


async def test_previous_parameters_and_debug(place: tuple[Any, Actor, UUID]) -> None:
    services, actor, _ = place
    workspace_id, build_id = await start(place)
    await factory.build_done(services, build_id)
    admin = msgspec.structs.replace(actor, site_roles=("owner",))
    request = CreateBuildRequest(transition="start", log_level="debug")
    build = await create.create_build(services, admin, workspace_id, request)
    _, work = await factory.claim(services, build.id)
    assert work.debug is True


async def test_status_in_sql_is_the_status_of_the_rules(place: tuple[Any, Actor, UUID]) -> None:
    services, _, _ = place
    _, build_id = await start(place)
    await factory.build_done(services, build_id, tokens=("t",))
    now = await services.pool.fetchval("SELECT now()")

    def ago(seconds: int | None) -> Any:
        return None if seconds is None else now - timedelta(seconds=seconds)

    seen = set()
    for created in (10, 500):
        for connected in (None, 5, 100):
            for gone in (None, 3, 200):
                for timeout in (0, 120):
                    values = (ago(created), timeout, ago(connected), ago(connected), ago(gone))
                    async with services.pool.acquire() as connection, connection.transaction():
                        found = await connection.fetchrow(
                            "UPDATE workspace_agents a SET created_at = $1, connection_timeout_s = $2, "
                            "first_connected_at = $3, last_connected_at = $4, disconnected_at = $5 "
                            f"RETURNING {STATUS_SQL} AS status, now() AS now",
                            *values,
                        )
                    assert found["status"] == decide_status(AgentTimes(*values), found["now"])
                    seen.add(found["status"])
    assert seen == {"connecting", "connected", "disconnected", "timeout"}
