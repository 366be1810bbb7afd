"""Routes of workspaces and builds on a real database: what each kind of caller gets, and what writes leave."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from devyard.wire.parameters import ParameterDefinition
from tests.db import workspace_factory as factory

ZERO = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
async def cast(api: Any) -> dict[str, Any]:
    """An owner, the members mia and max, and a template."""
    owner_id, owner_token = await api.add_user("admin", "owner")
    mia_id, mia_token = await api.add_user("mia")
    max_id, max_token = await api.add_user("max")
    template_id, version_id = await factory.add_template(api.services, owner_id)
    return {
        "owner": await api.client(owner_token),
        "mia": await api.client(mia_token),
        "max": await api.client(max_token),
        "anonymous": await api.client(),
        "ids": {"owner": owner_id, "mia": mia_id, "max": max_id},
        "template": str(template_id),
        "version": str(version_id),
        "services": api.services,
        "api": api,
    }


async def create(cast: dict[str, Any], name: str = "dev", who: str = "mia", **body: Any) -> dict[str, Any]:
    """A workspace that waits for its first build."""
    reply = await cast[who].post(
        "/users/me/workspaces", json={"template_id": cast["template"], "name": name, **body}
    )
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def running(cast: dict[str, Any], name: str = "dev", who: str = "mia", **options: Any) -> dict[str, Any]:
    """A workspace whose first build has succeeded, with one agent."""
    workspace = await create(cast, name, who)
    options.setdefault("tokens", (f"token-{name}",))
    await factory.build_done(cast["services"], workspace["latest_build"]["id"], **options)
    return dict((await cast[who].get(f"/workspaces/{workspace['id']}")).json())


async def test_create_and_read(cast: dict[str, Any]) -> None:
    workspace = await create(cast, ttl_ms=3_600_000, autostart_schedule="CRON_TZ=UTC 30 9 * * 1-5")
    build = workspace["latest_build"]
    assert workspace["owner_name"] == "mia"
    assert build["build_number"] == 1
    assert build["status"] == "pending"
    assert build["job"]["type"] == "workspace_build"
    assert (build["job"]["queue_position"], build["job"]["queue_size"]) == (1, 1)
    assert workspace["next_start_at"] > datetime.now(UTC).isoformat()
    assert workspace["ttl_ms"] == 3_600_000

    await factory.build_done(cast["services"], build["id"], tokens=("t",))
    workspace = (await cast["mia"].get("/users/me/workspace/DEV")).json()
    build = workspace["latest_build"]
    assert build["status"] == "running"
    assert build["daily_cost"] == 3
    deadline = datetime.fromisoformat(build["deadline"])
    assert timedelta(minutes=59) < deadline - datetime.now(UTC) < timedelta(minutes=61)
    [resource] = build["resources"]
    [agent] = resource["agents"]
    assert agent["status"] == "connecting"
    assert agent["environment_variables"] == {"EDITOR": "vi"}
    assert [app["subdomain_name"] for app in agent["apps"]] == ["code--main--dev--mia"]
    assert agent["apps"][0]["health"] == "initializing"
    assert {script["display_name"] for script in agent["scripts"]} == {"Startup", "Shutdown"}
    assert agent["scripts"][0]["log_source_id"] in {source["id"] for source in agent["log_sources"]}
    assert (await cast["mia"].get(f"/workspaceagents/{agent['id']}")).json() == agent
    listed = (await cast["mia"].get("/workspaces")).json()
    assert listed == {"workspaces": [workspace], "count": 1}


@pytest.mark.parametrize(
    ("who", "list_count", "read", "write"),
    [("anonymous", None, 401, 401), ("max", 0, 404, 404), ("mia", 1, 200, 204), ("owner", 1, 200, 204)],
)
async def test_who_may(cast: dict[str, Any], who: str, list_count: int | None, read: int, write: int) -> None:
    workspace = await running(cast)
    client: httpx.AsyncClient = cast[who]
    build = workspace["latest_build"]
    agent_id = build["resources"][0]["agents"][0]["id"]
    listed = await client.get("/workspaces")
    assert (listed.json().get("count") if listed.status_code == 200 else None) == list_count
    reads = [
        f"/workspaces/{workspace['id']}",
        f"/workspaces/{workspace['id']}/builds",
        f"/workspaces/{workspace['id']}/resolve-autostart",
        f"/workspaces/{workspace['id']}/timings",
        f"/users/mia/workspace/{workspace['name']}",
        f"/users/mia/workspace/{workspace['name']}/builds/1",
        f"/workspacebuilds/{build['id']}",
        f"/workspacebuilds/{build['id']}/logs",
        f"/workspacebuilds/{build['id']}/parameters",
        f"/workspacebuilds/{build['id']}/resources",
        f"/workspacebuilds/{build['id']}/timings",
        f"/workspaceagents/{agent_id}",
        f"/workspaceagents/{agent_id}/connection",
        f"/workspaceagents/{agent_id}/logs",
    ]
    assert {path: (await client.get(path)).status_code for path in reads} == dict.fromkeys(reads, read)
    puts: list[tuple[str, dict[str, Any]]] = [
        ("autostart", {"schedule": "0 8 * * *"}),
        ("ttl", {"ttl_ms": 7_200_000}),
        ("autoupdates", {"automatic_updates": "always"}),
    ]
    for name, body in puts:
        assert (await client.put(f"/workspaces/{workspace['id']}/{name}", json=body)).status_code == write
    usage = await client.post(f"/workspaces/{workspace['id']}/usage", content=b"")
    assert usage.status_code == write
    dormant = await client.put(f"/workspaces/{workspace['id']}/dormant", json={"dormant": False})
    assert dormant.status_code == read
    state = await client.get(f"/workspacebuilds/{build['id']}/state")
    assert state.status_code == (403 if who == "mia" else read)
    started = await client.post(f"/workspaces/{workspace['id']}/builds", json={"transition": "stop"})
    assert started.status_code == (201 if read == 200 else read)


async def test_owner_makes_workspaces_for_others(cast: dict[str, Any]) -> None:
    body = {"template_id": cast["template"], "name": "gift"}
    made = await cast["owner"].post("/users/max/workspaces", json=body)
    assert made.status_code == 201
    assert made.json()["owner_name"] == "max"
    assert made.json()["latest_build"]["initiator_name"] == "admin"
    refused = await cast["mia"].post("/users/max/workspaces", json={**body, "name": "other"})
    assert refused.status_code in (403, 404)
    organization = made.json()["organization_id"]
    in_organization = await cast["mia"].post(
        f"/organizations/{organization}/members/me/workspaces",
        json={"template_id": ZERO, "template_version_id": cast["version"], "name": "second"},
    )
    assert in_organization.status_code == 201
    elsewhere = await cast["mia"].post(f"/organizations/{uuid4()}/members/me/workspaces", json=body)
    assert elsewhere.status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "two--hyphens"}, "name"),
        ({"name": "x" * 33}, "name"),
        ({"name": ""}, "name"),
        ({"name": "ok", "template_id": ZERO}, "template_id"),
        ({"name": "ok", "template_id": str(UUID(int=7))}, "template_id"),
        ({"name": "ok", "ttl_ms": 5}, "ttl_ms"),
        ({"name": "ok", "autostart_schedule": "0 9 1 * *"}, "schedule"),
        ({"name": "ok", "rich_parameter_values": [{"name": "cpu", "value": "1"}]}, "cpu"),
    ],
)
async def test_create_refuses(cast: dict[str, Any], body: dict[str, Any], field: str) -> None:
    reply = await cast["mia"].post("/users/me/workspaces", json={"template_id": cast["template"], **body})
    assert reply.status_code == 400, reply.text
    assert [item["field"] for item in reply.json()["validations"]] == [field]


async def test_names_are_unique_until_deleted(cast: dict[str, Any]) -> None:
    first = await running(cast)
    again = await cast["mia"].post("/users/me/workspaces", json={"template_id": cast["template"], "name": "DEV"})
    assert again.status_code == 409
    gone = await cast["mia"].post(f"/workspaces/{first['id']}/builds", json={"transition": "delete"})
    await factory.build_done(cast["services"], gone.json()["id"], serial=2)
    assert (await cast["mia"].get(f"/workspaces/{first['id']}")).status_code == 404
    deleted = await cast["mia"].get(f"/workspaces/{first['id']}?include_deleted=true")
    assert deleted.json()["latest_build"]["status"] == "deleted"
    assert (await cast["mia"].get("/workspaces")).json() == {"workspaces": [], "count": 0}
    assert (await cast["mia"].get("/users/me/workspace/dev?include_deleted=true")).json()["id"] == first["id"]
    second = await create(cast)
    assert (await cast["mia"].get("/users/me/workspace/dev?include_deleted=true")).json()["id"] == second["id"]


async def test_two_builds_at_once(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    path = f"/workspaces/{workspace['id']}/builds"
    replies = await asyncio.gather(*[cast["mia"].post(path, json={"transition": "stop"}) for _ in range(6)])
    assert sorted(reply.status_code for reply in replies) == [201, 409, 409, 409, 409, 409]
    active = await cast["services"].pool.fetchval("SELECT count(*) FROM workspace_builds WHERE is_active")
    assert active == 1


async def test_parameters_over_builds(cast: dict[str, Any]) -> None:
    definitions = (
        ParameterDefinition(
            name="disk", type="number", mutable=True, required=True, validation_monotonic="increasing"
        ),
        ParameterDefinition(name="zone", default_value="a"),
        ParameterDefinition(name="reset", type="bool", mutable=True, ephemeral=True, default_value="false"),
    )
    template_id, _ = await factory.add_template(
        cast["services"], cast["ids"]["owner"], name="params", parameters=definitions
    )
    cast["template"] = str(template_id)
    missing = await cast["mia"].post("/users/me/workspaces", json={"template_id": cast["template"], "name": "p"})
    assert missing.status_code == 400
    assert missing.json()["validations"][0]["field"] == "disk"
    workspace = await create(cast, "p", rich_parameter_values=[{"name": "disk", "value": "10"}])
    _, work = await factory.build_done(cast["services"], workspace["latest_build"]["id"])
    assert (work.parameters, work.previous_parameters) == ({"disk": "10", "zone": "a", "reset": "false"}, {})
    path = f"/workspaces/{workspace['id']}/builds"

    async def post(**values: str) -> httpx.Response:
        given = [{"name": name, "value": value} for name, value in values.items()]
        return await cast["mia"].post(path, json={"transition": "start", "rich_parameter_values": given})

    for values, field in (({"disk": "5"}, "disk"), ({"zone": "b"}, "zone"), ({"nope": "1"}, "nope")):
        refused = await post(**values)
        assert (refused.status_code, refused.json()["validations"][0]["field"]) == (400, field)
    accepted = await post(disk="20", reset="true")
    assert accepted.status_code == 201
    _, work = await factory.build_done(cast["services"], accepted.json()["id"], serial=2)
    assert work.parameters == {"disk": "20", "zone": "a", "reset": "true"}
    assert work.previous_parameters == {"disk": "10", "zone": "a"}
    stopped = await cast["mia"].post(path, json={"transition": "stop"})
    listed = (await cast["mia"].get(f"/workspacebuilds/{stopped.json()['id']}/parameters")).json()
    assert {item["name"]: item["value"] for item in listed} == {"disk": "20", "zone": "a", "reset": "false"}


async def test_cancel(cast: dict[str, Any]) -> None:
    workspace = await create(cast)
    build_id = workspace["latest_build"]["id"]
    wrong = await cast["mia"].patch(f"/workspacebuilds/{build_id}/cancel?expect_status=running")
    assert wrong.status_code == 412
    unknown = await cast["mia"].patch(f"/workspacebuilds/{build_id}/cancel?expect_status=nope")
    assert unknown.json()["validations"][0]["field"] == "expect_status"
    assert (await cast["max"].patch(f"/workspacebuilds/{build_id}/cancel")).status_code == 404
    assert (await cast["mia"].patch(f"/workspacebuilds/{build_id}/cancel")).status_code == 200
    assert (await cast["mia"].get(f"/workspacebuilds/{build_id}")).json()["status"] == "canceled"
    assert (await cast["mia"].patch(f"/workspacebuilds/{build_id}/cancel")).status_code == 400
    again = await cast["mia"].post(f"/workspaces/{workspace['id']}/builds", json={"transition": "start"})
    assert again.status_code == 201
    await factory.claim(cast["services"], again.json()["id"])
    await cast["services"].pool.execute("UPDATE templates SET allow_user_cancel_workspace_jobs = false")
    assert (await cast["mia"].patch(f"/workspacebuilds/{again.json()['id']}/cancel")).status_code == 403
    assert (await cast["owner"].patch(f"/workspacebuilds/{again.json()['id']}/cancel")).status_code == 200
    assert (await cast["mia"].get(f"/workspacebuilds/{again.json()['id']}")).json()["status"] == "canceling"


async def test_orphan_and_state(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    build_id = workspace["latest_build"]["id"]
    pulled = await cast["owner"].get(f"/workspacebuilds/{build_id}/state")
    assert pulled.content == factory.state(1)
    bad = await cast["owner"].put(
        f"/workspacebuilds/{build_id}/state", json={"state": base64.b64encode(b"{}").decode()}
    )
    assert bad.status_code == 400
    pushed = base64.b64encode(factory.state(9, "other")).decode()
    refused = await cast["mia"].put(f"/workspacebuilds/{build_id}/state", json={"state": pushed})
    assert refused.status_code == 403
    state_path = f"/workspacebuilds/{build_id}/state"
    assert (await cast["owner"].put(state_path, json={"state": pushed})).status_code == 409
    older = base64.b64encode(factory.state(0)).decode()
    assert (await cast["owner"].put(state_path, json={"state": older})).status_code == 409
    newer = base64.b64encode(factory.state(2)).decode()
    assert (await cast["owner"].put(state_path, json={"state": newer})).status_code == 204
    assert (await cast["owner"].put(state_path, json={"state": pushed, "force": True})).status_code == 204
    assert (await cast["owner"].get(state_path)).content == factory.state(9, "other")
    path = f"/workspaces/{workspace['id']}/builds"
    orphan = {"transition": "delete", "orphan": True}
    assert (await cast["mia"].post(path, json=orphan)).status_code == 403
    deleted = await cast["owner"].post(path, json=orphan)
    assert (deleted.status_code, deleted.json()["status"]) == (201, "deleted")
    assert deleted.json()["resources"] == []
    pool = cast["services"].pool
    assert await pool.fetchval("SELECT count(*) FROM workspace_builds WHERE state <> ''") == 0
    audited = "SELECT diff->'orphan'->>'new' FROM audit_logs WHERE resource_id = $1"
    assert await pool.fetchval(audited, UUID(deleted.json()["id"])) == "true"
    assert (await cast["mia"].get("/workspaces")).json()["count"] == 0


async def test_settings(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    path = f"/workspaces/{workspace['id']}"
    mia: httpx.AsyncClient = cast["mia"]
    assert (await mia.patch(path, json={"name": "other"})).status_code == 403
    assert (await mia.patch(path, json={"name": "dev"})).status_code == 204
    assert (await mia.put(f"{path}/favorite")).status_code == 204
    assert (await cast["owner"].put(f"{path}/favorite")).status_code == 403
    assert (await mia.get("/workspaces")).json()["workspaces"][0]["favorite"] is True
    assert (await cast["owner"].get("/workspaces")).json()["workspaces"][0]["favorite"] is False
    assert (await mia.delete(f"{path}/favorite")).status_code == 204
    assert (await mia.get("/workspaces")).json()["workspaces"][0]["favorite"] is False
    soon, later = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (5, 90))
    assert (await mia.put(f"{path}/extend", json={"deadline": soon.isoformat()})).status_code == 400
    assert (await mia.put(f"{path}/extend", json={"deadline": later.isoformat()})).status_code == 200
    assert datetime.fromisoformat((await mia.get(path)).json()["latest_build"]["deadline"]) == later
    assert (await mia.put(f"{path}/ttl", json={"ttl_ms": None})).status_code == 204
    assert "deadline" not in (await mia.get(path)).json()["latest_build"]
    assert (await mia.put(f"{path}/autostart", json={"schedule": "0 9 * * 8"})).status_code == 400
    assert (await mia.put(f"{path}/dormant", json={"dormant": True})).json()["dormant_at"]
    start = await mia.post(f"{path}/builds", json={"transition": "start"})
    assert start.status_code == 409


async def test_filters(cast: dict[str, Any]) -> None:
    await running(cast, "alpha")
    beta = await create(cast, "beta", who="max")
    owner: httpx.AsyncClient = cast["owner"]

    async def names(q: str) -> list[str]:
        reply = await owner.get("/workspaces", params={"q": q})
        assert reply.status_code == 200, reply.text
        assert reply.json()["count"] == len(reply.json()["workspaces"])
        return [workspace["name"] for workspace in reply.json()["workspaces"]]

    assert await names("") == ["beta", "alpha"]
    expected = {
        "alp": ["alpha"],
        "mia/alpha": ["alpha"],
        "owner:me": [],
        'owner:"mia"': ["alpha"],
        "status:running": ["alpha"],
        "status:pending,stopped": ["beta"],
        "has-agent:connecting": ["alpha"],
        "healthy:true": [],
        "outdated:false": ["beta", "alpha"],
        "dormant:true": [],
        f"id:{beta['id']}": ["beta"],
        "template:local": ["beta", "alpha"],
        "organization:default": ["beta", "alpha"],
        "last_used_after:2020-01-01": ["beta", "alpha"],
        "last_used_before:2020-01-01": [],
        "param:cpu": [],
        "param:cpu=4 owner:mia": [],
    }
    assert {q: await names(q) for q in expected} == expected
    refused = await owner.get("/workspaces", params={"q": "nope:1"})
    assert (refused.status_code, refused.json()["validations"][0]["field"]) == (400, "q")
    second = (await owner.get("/workspaces?limit=1&offset=1")).json()
    assert ([workspace["name"] for workspace in second["workspaces"]], second["count"]) == (["alpha"], 2)
    assert (await owner.get("/workspaces?offset=10")).json() == {"workspaces": [], "count": 2}


async def test_list_never_lags(cast: dict[str, Any]) -> None:
    """What the list keeps is dropped by every change that another process could make."""
    workspace = await running(cast)
    mia: httpx.AsyncClient = cast["mia"]
    pool = cast["services"].pool
    path = f"/workspaces/{workspace['id']}"
    changes = [
        "UPDATE workspace_agents SET lifecycle = 'ready'",
        "UPDATE workspace_agents SET first_connected_at = now(), last_connected_at = now()",
        "UPDATE workspace_builds SET daily_cost = 99",
        "UPDATE templates SET display_name = 'Renamed'",
        "UPDATE users SET avatar_url = '/a.png' WHERE username = 'mia'",
        "UPDATE provisioner_jobs SET error = 'x' WHERE workspace_build_id IS NOT NULL",
        "UPDATE workspaces SET ttl_ms = 60000",
        "UPDATE template_versions SET name = 'other'",
        "UPDATE organizations SET name = 'acme'",
    ]
    seen = [(await mia.get("/workspaces")).json()["workspaces"][0]]
    for change in changes:
        await pool.execute(change)
        listed = (await mia.get("/workspaces")).json()["workspaces"][0]
        assert listed == (await mia.get(path)).json()
        assert listed not in seen, change
        seen.append(listed)


async def test_version_change_and_mismatch(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    required = ParameterDefinition(name="size", required=True, mutable=True)
    _, version_id = await factory.add_template(
        cast["services"], cast["ids"]["owner"], template_id=UUID(cast["template"]), parameters=(required,)
    )
    await cast["services"].pool.execute("UPDATE templates SET active_version_id = $1", version_id)
    path = f"/workspaces/{workspace['id']}"
    assert (await cast["mia"].get(path)).json()["outdated"] is True
    assert (await cast["mia"].get(f"{path}/resolve-autostart")).json() == {"parameter_mismatch": False}
    await cast["mia"].put(f"{path}/autoupdates", json={"automatic_updates": "always"})
    assert (await cast["mia"].get(f"{path}/resolve-autostart")).json() == {"parameter_mismatch": True}
    body = {
        "transition": "start",
        "template_version_id": str(version_id),
        "rich_parameter_values": [{"name": "size", "value": "L"}],
        "reason": "vscode_connection",
    }
    started = await cast["mia"].post(f"{path}/builds", json=body)
    assert started.status_code == 201
    assert started.json()["reason"] == "vscode_connection"
    assert started.json()["template_version_id"] == str(version_id)
    assert (await cast["mia"].get(path)).json()["outdated"] is False
    builds = (await cast["mia"].get(f"{path}/builds")).json()
    assert [build["build_number"] for build in builds] == [2, 1]
    older = (await cast["mia"].get(f"{path}/builds?after_id={builds[0]['id']}")).json()
    assert [build["build_number"] for build in older] == [1]


async def test_every_write_is_audited(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    await cast["mia"].put(f"/workspaces/{workspace['id']}/ttl", json={"ttl_ms": 60_000})
    await cast["mia"].post(f"/workspaces/{workspace['id']}/builds", json={"transition": "stop"})
    rows = await cast["services"].pool.fetch(
        "SELECT resource_type, action FROM audit_logs WHERE resource_type LIKE 'workspace%' ORDER BY time, id"
    )
    found = [(row["resource_type"], row["action"]) for row in rows]
    assert sorted(found) == sorted(
        [
            ("workspace", "create"),
            ("workspace_build", "create"),
            ("workspace_build", "write"),
            ("workspace", "write"),
            ("workspace_build", "stop"),
        ]
    )
