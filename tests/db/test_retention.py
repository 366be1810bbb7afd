"""What is deleted when it is old, and what must stay, on real rows made by the real actions."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from devyard.server.retention import queries
from devyard.server.retention.loops import Rule, list_loops, list_rules, run_rule
from tests.conftest import Api
from tests.db.workspace_factory import add_template, build_done


async def purge(services: Any, name: str, **settings: timedelta) -> int:
    """One round of a rule, as a replica of its own; a lease that an earlier round left is taken away."""
    await services.pool.execute("DELETE FROM leases")
    rule = next(r for r in list_rules(msgspec.structs.replace(services.settings, **settings)) if r.name == name)
    return await run_rule(services, rule, uuid4(), pause_s=0)


@pytest.fixture
async def two_builds(api: Api, member: httpx.AsyncClient) -> tuple[UUID, UUID]:
    """A workspace that was built twice, each build with an agent, 60 days ago: (first build, latest build)."""
    services = api.services
    owner_id = UUID((await member.get("/users/me")).json()["id"])
    template_id, _ = await add_template(services, owner_id)
    body = {"name": "dev", "template_id": str(template_id)}
    workspace = (await member.post("/users/me/workspaces", json=body)).json()
    first = UUID(workspace["latest_build"]["id"])
    await build_done(services, first, tokens=("token-1",))
    reply = await member.post(f"/workspaces/{workspace['id']}/builds", json={"transition": "start"})
    latest = UUID(reply.json()["id"])
    await build_done(services, latest, serial=2, tokens=("token-2",))
    for table, column in (
        ("workspace_agents", "created_at"),
        ("provisioner_jobs", "completed_at"),
        ("files", "last_uploaded_at"),
    ):
        await services.pool.execute(f"UPDATE {table} SET {column} = now() - interval '60 days'")
    return first, latest


async def count(services: Any, table: str, where: str = "true") -> int:
    found: int = await services.pool.fetchval(f"SELECT count(*) FROM {table} WHERE {where}")
    return found


async def test_agent_logs_but_for_the_latest_build(api: Api, two_builds: tuple[UUID, UUID]) -> None:
    services = api.services
    await services.pool.execute(
        "INSERT INTO workspace_agent_logs (agent_id, source_id, created_at, level, output) "
        "SELECT a.id, a.id, now() - age * interval '1 day', 'info', 'x' "
        "FROM workspace_agents a, unnest(ARRAY[1, 8, 40]) AS age"
    )
    assert await count(services, "workspace_agent_logs") == 6
    assert await purge(services, "agent logs") == 2
    assert await purge(services, "agents without logs") == 0
    of_first = f"agent_id = (SELECT id FROM workspace_agents WHERE build_id = '{two_builds[0]}')"
    assert await count(services, "workspace_agent_logs", of_first) == 1
    assert await count(services, "workspace_agent_logs") == 4
    await services.pool.execute("UPDATE workspace_agent_logs SET created_at = now() - interval '8 days'")
    assert await purge(services, "agent logs") == 1
    assert await purge(services, "agents without logs") == 1
    assert await count(services, "workspace_agents", "logs_purged_at IS NOT NULL") == 1
    assert await count(services, "workspace_agent_logs") == 3


async def test_build_logs_but_for_the_latest_build_and_imports(api: Api, two_builds: tuple[UUID, UUID]) -> None:
    services = api.services
    await services.pool.execute(
        "INSERT INTO provisioner_job_logs (job_id, created_at, source, level, stage, output) "
        "SELECT id, now(), 'provisioner', 'info', 'apply', 'x' FROM provisioner_jobs"
    )
    assert await purge(services, "build logs", keep_build_logs=timedelta(days=90)) == 0
    assert await purge(services, "build logs") == 1
    assert await purge(services, "jobs without logs") == 1
    left = await services.pool.fetch(
        "SELECT j.type, j.workspace_build_id FROM provisioner_job_logs l "
        "JOIN provisioner_jobs j ON j.id = l.job_id"
    )
    assert {tuple(row) for row in left} == {
        ("template_version_import", None),
        ("workspace_build", two_builds[1]),
    }
    marked = "logs_purged_at IS NOT NULL"
    assert (
        await services.pool.fetchval(f"SELECT workspace_build_id FROM provisioner_jobs WHERE {marked}")
        == (two_builds[0])
    )
    assert await purge(services, "build logs") == 0


async def test_stats_and_script_runs_in_batches(api: Api, two_builds: tuple[UUID, UUID]) -> None:
    services = api.services
    await services.pool.execute(
        "INSERT INTO workspace_agent_stats (agent_id, workspace_id, user_id, template_id, created_at, rx_bytes, "
        "tx_bytes, ssh_sessions, vscode_sessions, jetbrains_sessions, terminal_sessions, connection_count, "
        "latency_ms) SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), "
        "now() - age * interval '1 day', 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(1, 60) AS age"
    )
    rule = Rule("small", queries.delete_agent_stats, timedelta(days=30), 7)
    assert await run_rule(services, rule, uuid4(), pause_s=0) == 31
    assert await count(services, "workspace_agent_stats") == 29
    await services.pool.execute(
        "INSERT INTO workspace_agent_script_runs (script_id, stage, status, exit_code, started_at, ended_at) "
        "SELECT s.id, 'start', 'ok', 0, now() - age * interval '1 day', now() - age * interval '1 day' "
        "FROM workspace_agent_scripts s, unnest(ARRAY[29, 31]) AS age"
    )
    before = await count(services, "workspace_agent_script_runs")
    assert await purge(services, "script runs") == before // 2 > 0


async def test_ended_keys_a_week_after_their_end(api: Api) -> None:
    _, old = await api.add_user("old")
    _, recent = await api.add_user("recent")
    for token, days in ((old, 8), (recent, 6)):
        await api.services.pool.execute(
            "UPDATE api_keys SET expires_at = now() - $2::int * interval '1 day' WHERE id = $1",
            token.split("-")[0],
            days,
        )
    assert await purge(api.services, "ended keys") == 1
    assert await count(api.services, "api_keys", f"id = '{recent.split('-')[0]}'") == 1


async def test_audit_logs_stay_for_ever_unless_told(api: Api, owner: httpx.AsyncClient) -> None:
    services = api.services
    assert (await owner.post("/users/me/keys/tokens", json={"token_name": "a"})).status_code == 201
    await services.pool.execute("UPDATE audit_logs SET time = now() - interval '400 days'")
    assert "purge audit logs" not in [loop.name for loop in list_loops(services)]
    kept = msgspec.structs.replace(services.settings, keep_audit_logs=timedelta(days=365))
    services = type(services)(**{**vars(services), "settings": kept})
    loop = next(loop for loop in list_loops(services) if loop.name == "purge audit logs")
    assert await loop.run() == 1
    assert await count(services, "audit_logs") == 0


async def test_provisioners_that_were_not_seen_for_a_week(api: Api) -> None:
    pool = api.services.pool
    for days in (6, 8):
        await pool.execute(
            "INSERT INTO provisioner_daemons (id, organization_id, name, last_seen_at) "
            "VALUES ($1, $2, 'p', now() - $3::int * interval '1 day')",
            uuid4(),
            api.services.organization_id,
            days,
        )
    assert await purge(api.services, "unseen provisioners") == 1
    assert await count(api.services, "provisioner_daemons") == 1


async def test_files_that_nothing_names(api: Api, owner: httpx.AsyncClient, two_builds: tuple[UUID, UUID]) -> None:
    pool = api.services.pool
    of_version = await pool.fetchval("SELECT id FROM files")
    headers = {"Content-Type": "application/x-tar"}
    unused, again = bytes(10240), bytes(20480)
    for data in (unused, again):
        assert (await owner.post("/files", content=data, headers=headers)).status_code == 201
    await pool.execute("UPDATE files SET last_uploaded_at = now() - interval '2 days'")
    assert (await owner.post("/files", content=again, headers=headers)).status_code == 200
    assert await purge(api.services, "unused files") == 1
    left = {row["id"] for row in await pool.fetch("SELECT id FROM files")}
    assert of_version in left
    assert len(left) == 2
    assert await purge(api.services, "unused files") == 0


async def test_a_file_that_is_just_being_used_is_left_alone(api: Api, two_builds: tuple[UUID, UUID]) -> None:
    pool = api.services.pool
    file_id, user_id = uuid4(), await pool.fetchval("SELECT id FROM users LIMIT 1")
    await pool.execute(
        "INSERT INTO files (id, created_by, sha256, mimetype, data, last_uploaded_at) "
        "VALUES ($1, $2, 'h', 'application/x-tar', '', now() - interval '9 days')",
        file_id,
        user_id,
    )
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO provisioner_jobs (id, organization_id, initiator_id, type, file_id, template_version_id) "
            "SELECT $1, organization_id, initiator_id, type, $2, template_version_id "
            "FROM provisioner_jobs LIMIT 1",
            uuid4(),
            file_id,
        )
        assert await purge(api.services, "unused files") == 0
    assert await purge(api.services, "unused files") == 0


async def test_only_the_holder_of_the_lease_deletes(api: Api) -> None:
    services = api.services
    calls: list[int] = []

    async def take(executor: Any, before: Any, limit: int) -> int:
        calls.append(limit)
        if len(calls) == 2:
            await services.pool.execute("UPDATE leases SET holder = $1", uuid4())
        return limit

    rule = Rule("counted", take, timedelta(days=1), 3)
    assert await run_rule(services, rule, uuid4(), pause_s=0) == 6
    assert calls == [3, 3]
    assert await run_rule(services, rule, uuid4(), pause_s=0) == 0


async def test_every_purge_finds_its_rows_by_an_index(api: Api) -> None:
    """With sequential scans made dear, none of the large tables may still need one."""
    from tests.db.test_statements import list_statements

    statements = {name: sql for name, sql in list_statements().items() if name.startswith("retention.")}
    assert len(statements) == 12
    async with api.services.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        for name, sql in statements.items():
            bound = sql.replace("$1", "now()").replace("$2", "5")
            plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + bound.partition("\n")[2]))
            scans = [line.strip() for line in plan.splitlines() if "Seq Scan" in line]
            assert not [s for s in scans if "provisioner_daemons" not in s], f"{name}\n{plan}"
