"""The list by filters and by cursor, and the live view of one workspace."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
from websockets.asyncio.client import connect

from tests.conftest import Api
from tests.contract.test_workspaces import cast, create, running
from tests.db import workspace_factory as factory

__all__ = ["cast"]


async def test_pages_by_cursor(cast: dict[str, Any]) -> None:
    for who in ("mia", "max"):
        for number in range(4):
            await create(cast, f"w{number}", who)
    favourite = await create(cast, "zz", "max")
    await cast["max"].put(f"/workspaces/{favourite['id']}/favorite")
    for who, count in (("owner", 9), ("max", 5)):
        client: httpx.AsyncClient = cast[who]
        whole = [item["id"] for item in (await client.get("/workspaces")).json()["workspaces"]]
        assert len(whole) == count
        seen: list[str] = []
        while True:
            after = {"after_id": seen[-1]} if seen else {}
            page = (await client.get("/workspaces", params={"limit": 2, "q": "", **after})).json()
            assert page["count"] == count
            if not page["workspaces"]:
                break
            seen += [item["id"] for item in page["workspaces"]]
        assert seen == whole
    assert (await cast["max"].get("/workspaces?after_id=x")).status_code == 400
    nowhere = (await cast["max"].get(f"/workspaces?after_id={uuid4()}")).json()
    assert nowhere == {"workspaces": [], "count": 5}


async def test_a_cursor_outlives_its_workspace(cast: dict[str, Any]) -> None:
    first, second, third = [await create(cast, name) for name in ("a", "b", "c")]
    await cast["services"].pool.execute("UPDATE workspaces SET deleted_at = now() WHERE name = 'b'")
    page = (await cast["mia"].get(f"/workspaces?after_id={second['id']}")).json()
    assert ([item["id"] for item in page["workspaces"]], page["count"]) == ([third["id"]], 2)
    assert first["id"] not in json.dumps(page)


async def test_filters(cast: dict[str, Any]) -> None:
    await running(cast, "alpha")
    beta = await create(cast, "beta")
    await cast["services"].pool.execute(
        "INSERT INTO workspace_resources (id, build_id, job_id, address, transition, type, name) "
        "VALUES ($1, $2, $1, 'x', 'start', 'coder_external_agent', 'x')",
        uuid4(),
        UUID(beta["latest_build"]["id"]),
    )
    expected: dict[str, list[str] | int] = {
        "shared:true": [],
        "shared:false": ["alpha", "beta"],
        "shared_with_user:max": [],
        "shared_with_group:all": [],
        "has-ai-task:true": [],
        "has-ai-task:false": ["alpha", "beta"],
        "has_external_agent:true": ["beta"],
        "has_external_agent:false": ["alpha"],
        '"al" owner:"mia"': ["alpha"],
        "mia/bet": ["beta"],
        "STATUS:running owner:me": ["alpha"],
        "name:alpha beta": 400,
        "shared:perhaps": 400,
        "status:asleep": 400,
        "has-agent:lost": 400,
        "last_used_after:soon": 400,
        "id:7": 400,
        "owner:a:b": 400,
        '"open': 400,
        "colour:red": 400,
        "param:": 400,
    }
    for q, names in expected.items():
        reply = await cast["mia"].get("/workspaces", params={"q": q})
        if isinstance(names, int):
            assert (reply.status_code, reply.json()["validations"][0]["field"]) == (names, "q"), q
        else:
            assert [item["name"] for item in reply.json()["workspaces"]] == names, q


class Watch:
    """Both kinds of a live view, read event by event."""

    def __init__(self, events: Any) -> None:
        self._events = events

    async def next(self, kind: str) -> Any:
        """The next event of a kind; pings in between are passed over."""
        async with asyncio.timeout(15):
            while True:
                found, data = await anext(self._events)
                if found == kind:
                    return data
                assert found == "ping", (found, data)

    async def is_over(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(5):
            return await anext(self._events, None) is None


async def server_sent(client: httpx.AsyncClient, path: str) -> Any:
    """The events of an SSE answer."""
    async with client.stream("GET", path, timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        kind = ""
        async for line in reply.aiter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                yield kind, json.loads(line[6:])


async def websocket(api: Api, token: str, path: str) -> Any:
    """The events of the same over a websocket."""
    url = api.base_url.replace("http", "ws") + "/api/v2" + path
    async with connect(url, additional_headers={"Coder-Session-Token": token}) as socket:
        async for message in socket:
            event = json.loads(message)
            yield event["type"], event["data"]


async def test_watchers_see_every_change_until_the_end(live_api: Api) -> None:
    services = live_api.services
    owner_id, _ = await live_api.add_user("admin", "owner")
    _, token = await live_api.add_user("mia")
    template_id, _ = await factory.add_template(services, owner_id)
    mia = await live_api.client(token)
    body = {"template_id": str(template_id), "name": "dev"}
    workspace = (await mia.post("/users/me/workspaces", json=body)).json()
    path = f"/workspaces/{workspace['id']}"
    watches = [
        Watch(server_sent(mia, f"{path}/watch")),
        Watch(websocket(live_api, token, f"{path}/watch-ws")),
        Watch(websocket(live_api, token, f"{path}/watch-ws")),
    ]

    async def see(is_it: Callable[[Any], bool], kind: str = "data") -> None:
        """Every watch sees this sooner or later; what comes before may be more than one event."""
        for watch in watches:
            while not is_it(await watch.next(kind)):
                pass

    await see(lambda seen: seen["latest_build"]["status"] == "pending")
    await factory.build_done(services, workspace["latest_build"]["id"], tokens=("t",))
    await see(lambda seen: seen["latest_build"]["status"] == "running")
    await mia.put(f"{path}/ttl", json={"ttl_ms": 7_200_000})
    await see(lambda seen: seen.get("ttl_ms") == 7_200_000)
    gone = (await mia.post(f"{path}/builds", json={"transition": "delete"})).json()
    await see(lambda seen: seen["latest_build"]["transition"] == "delete")
    await factory.build_done(services, gone["id"], serial=2)
    await see(lambda seen: seen["latest_build"]["status"] == "deleted")
    await see(lambda seen: seen["message"] == 'The workspace "dev" was deleted.', "error")
    assert [await watch.is_over() for watch in watches] == [True] * 3


async def test_a_watch_ends_with_its_session(live_api: Api) -> None:
    services = live_api.services
    owner_id, _ = await live_api.add_user("admin", "owner")
    _, token = await live_api.add_user("mia")
    template_id, _ = await factory.add_template(services, owner_id)
    mia = await live_api.client(token)
    body = {"template_id": str(template_id), "name": "dev"}
    workspace = (await mia.post("/users/me/workspaces", json=body)).json()
    watch = Watch(websocket(live_api, token, f"/workspaces/{workspace['id']}/watch-ws"))
    await watch.next("data")
    assert (await mia.post("/users/logout")).status_code in (200, 201)
    services.wakeups.wake_here(f"workspace:{workspace['id']}")
    assert "session has ended" in (await watch.next("error"))["message"]
    assert await watch.is_over()
