"""The agent's control connection on a real server: admission, reports, acknowledgement, replacement, departure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from devyard.server.agents import store_queries
from devyard.wire import agentlink
from devyard.wire.agentlink import LogLine, Logs, ServerMessage
from tests.db import workspace_factory as factory

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELLO = agentlink.Hello("1.2.3", "linux", "amd64", "/home/mia", ["ssh-ed25519 AAAA agent"])


class Agent:
    """A small agent: one socket, messages by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: agentlink.AgentMessage) -> None:
        await self.socket.send(msgspec.msgpack.encode(message))

    async def receive(self, timeout_s: float = 5) -> ServerMessage:
        async with asyncio.timeout(timeout_s):
            data = await self.socket.recv()
        assert isinstance(data, bytes)
        return msgspec.msgpack.decode(data, type=ServerMessage)

    async def closed(self) -> int:
        """The close code, once the server has closed."""
        async with asyncio.timeout(5):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code


@asynccontextmanager
async def dial(live_api: Any, token: str) -> AsyncIterator[Agent]:
    url = live_api.base_url.replace("http", "ws") + agentlink.CONNECT_PATH
    async with connect(url, additional_headers={"Coder-Session-Token": token}, compression=None) as socket:
        yield Agent(socket)


async def refused(live_api: Any, token: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with dial(live_api, token):
            pass
    body = caught.value.response.body
    return caught.value.response.status_code, msgspec.json.decode(body)["message"]


@pytest.fixture
async def mia(live_api: Any) -> httpx.AsyncClient:
    owner_id, _ = await live_api.add_user("admin", "owner")
    await factory.add_template(live_api.services, owner_id)
    client: httpx.AsyncClient = await live_api.client((await live_api.add_user("mia"))[1])
    return client


async def make_workspace(live_api: Any, mia: httpx.AsyncClient, name: str = "dev") -> dict[str, Any]:
    template = await live_api.services.pool.fetchval("SELECT id FROM templates")
    reply = await mia.post("/users/me/workspaces", json={"template_id": str(template), "name": name})
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def make_agent(live_api: Any, mia: httpx.AsyncClient, token: str = "secret") -> tuple[str, str]:
    """A running workspace with one agent: their ids."""
    workspace = await make_workspace(live_api, mia)
    await factory.build_done(live_api.services, workspace["latest_build"]["id"], tokens=(token,))
    agent_id = await live_api.services.pool.fetchval("SELECT id FROM workspace_agents")
    return workspace["id"], str(agent_id)


async def read_agent(mia: httpx.AsyncClient, agent_id: str) -> dict[str, Any]:
    return dict((await mia.get(f"/workspaceagents/{agent_id}")).json())


async def eventually(look: Any, wanted: Any) -> None:
    """Wait (bounded) until an awaitable look answers what is wanted."""
    found = None
    for _ in range(200):
        found = await look()
        if found == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{found!r} instead of {wanted!r}")


async def test_connect_and_report(live_api: Any, mia: httpx.AsyncClient) -> None:
    workspace_id, agent_id = await make_agent(live_api, mia)
    async with dial(live_api, "secret") as agent:
        manifest = await agent.receive()
        assert isinstance(manifest, agentlink.Manifest)
        assert str(manifest.agent_id) == agent_id
        assert (manifest.owner_name, manifest.environment) == ("mia", {"EDITOR": "vi"})
        assert manifest.relays[0].url == "http://test"
        assert {script.display_name for script in manifest.scripts} == {"Startup", "Shutdown"}
        assert [(item.key, item.interval_s) for item in manifest.metadata] == [("cpu", 10)]
        await agent.send(HELLO)
        await agent.send(agentlink.Lifecycle(1, "starting", NOW))
        source = manifest.scripts[0].log_source_id
        await agent.send(Logs(2, source, [LogLine(NOW, "one\0"), LogLine(NOW, "x" * 5000, "error")]))
        await agent.send(agentlink.Metadata(3, [agentlink.MetadataValue("cpu", "7", "", NOW)]))
        await agent.send(agentlink.AppHealths(4, {"code": "healthy"}))
        await agent.send(
            agentlink.ScriptRun(5, manifest.scripts[0].id, "start", "ok", 0, NOW, NOW.replace(minute=1))
        )
        await agent.send(agentlink.Stats(6, 10, 20, 1, 0, 0, 0, 1, 2.5))
        await agent.send(agentlink.Lifecycle(7, "ready", NOW.replace(minute=2)))
        acked = 0
        while acked < 7:
            message = await agent.receive()
            assert isinstance(message, agentlink.Ack)
            acked = message.seq
        # What is acknowledged is stored: no waiting from here on.
        pool = live_api.services.pool
        lines = await pool.fetch("SELECT output, level FROM workspace_agent_logs ORDER BY id")
        assert [(len(line["output"]), line["level"]) for line in lines] == [(3, "info"), (1024, "error")]
        assert await pool.fetchval("SELECT value FROM workspace_agent_metadata") == "7"
        assert await pool.fetchval("SELECT health FROM workspace_apps") == "healthy"
        assert await pool.fetchval("SELECT count(*) FROM workspace_agent_script_runs") == 1
        assert await pool.fetchval("SELECT tx_bytes FROM workspace_agent_stats") == 20
        row = await read_agent(mia, agent_id)
        assert (row["status"], row["lifecycle_state"], row["health"]["healthy"]) == ("connected", "ready", True)
        assert (row["version"], row["expanded_directory"]) == ("1.2.3", "/home/mia")
        assert (row["started_at"], row["ready_at"]) == ("2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z")
        assert row["logs_length"] == 1027
        info = (await mia.get(f"/workspaceagents/{agent_id}/connection")).json()
        assert info["host_keys"] == ["ssh-ed25519 AAAA agent"]
        assert info["relays"][0]["expires_at"] <= datetime.now(UTC).timestamp() + 60
        listed = (await mia.get("/workspaces?q=has-agent:connected")).json()
        assert listed["workspaces"][0]["latest_build"]["resources"][0]["agents"] == [row]

    async def status() -> str:
        return str((await read_agent(mia, agent_id))["status"])

    await eventually(status, "disconnected")
    assert (await mia.get(f"/workspaces/{workspace_id}")).json()["health"]["failing_agents"] == [agent_id]
    timings = (await mia.get(f"/workspaces/{workspace_id}/timings")).json()
    assert len(timings["agent_script_timings"]) == len(timings["agent_connection_timings"]) == 1


async def test_dial_is_held_while_the_build_runs(live_api: Any, mia: httpx.AsyncClient) -> None:
    workspace = await make_workspace(live_api, mia)
    job, _ = await factory.claim(live_api.services, workspace["latest_build"]["id"])

    async def dial_early() -> float:
        async with dial(live_api, "early") as agent:
            assert isinstance(await agent.receive(), agentlink.Manifest)
            return asyncio.get_running_loop().time()

    dialing = asyncio.create_task(dial_early())
    await asyncio.sleep(0.3)
    assert not dialing.done()
    await factory.finish(live_api.services, job, factory.done(job, tokens=("early",)))
    finished_at = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        assert await dialing - finished_at < 1


async def test_unknown_token(live_api: Any, mia: httpx.AsyncClient) -> None:
    assert (await refused(live_api, "nobody"))[0] == 401
    workspace = await make_workspace(live_api, mia)
    dialing = asyncio.create_task(refused(live_api, "nobody"))
    await asyncio.sleep(0.2)
    assert not dialing.done()
    await factory.build_done(live_api.services, workspace["latest_build"]["id"])
    async with asyncio.timeout(5):
        assert (await dialing)[0] == 401


async def test_older_build_is_refused(live_api: Any, mia: httpx.AsyncClient) -> None:
    workspace_id, _ = await make_agent(live_api, mia, "old")
    build = (await mia.post(f"/workspaces/{workspace_id}/builds", json={"transition": "start"})).json()
    job, _ = await factory.claim(live_api.services, build["id"])
    waiting = asyncio.create_task(refused(live_api, "old"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await factory.finish(live_api.services, job, factory.done(job, serial=2, tokens=("new",)))
    async with asyncio.timeout(5):
        status, message = await waiting
    assert (status, "older build" in message) == (403, True)


async def test_second_connection_replaces_the_first(live_api: Any, mia: httpx.AsyncClient) -> None:
    _, agent_id = await make_agent(live_api, mia)
    async with dial(live_api, "secret") as first:
        await first.receive()
        async with dial(live_api, "secret") as second:
            await second.receive()
            assert await first.closed() == 4001
            await second.send(HELLO)
            await second.send(agentlink.Lifecycle(1, "starting", NOW))
            assert await second.receive() == agentlink.Ack(1)
            await asyncio.sleep(0.2)
            assert (await read_agent(mia, agent_id))["status"] == "connected"


async def test_heartbeat_finds_a_replacement_elsewhere(live_api: Any, mia: httpx.AsyncClient) -> None:
    from devyard.server.agents.hub import AgentHub

    _, agent_id = await make_agent(live_api, mia)
    hub: AgentHub = live_api.app.hub
    async with dial(live_api, "secret") as agent:
        await agent.receive()
        await hub.beat()
        await live_api.services.pool.execute("UPDATE workspace_agents SET connection_id = $1", uuid4())
        await hub.beat()
        assert await agent.closed() == 4001
    assert (await read_agent(mia, agent_id)).get("disconnected_at") is None


async def test_tickets_are_renewed(live_api: Any, mia: httpx.AsyncClient) -> None:
    await make_agent(live_api, mia)
    hub = live_api.app.hub
    async with dial(live_api, "secret") as agent:
        manifest = await agent.receive()
        assert isinstance(manifest, agentlink.Manifest)
        for connection in hub._connections.values():
            connection.tickets_expire_at = int(live_api.services.now().timestamp()) + 10
        await hub.beat()
        relays = await agent.receive()
        assert isinstance(relays, agentlink.Relays)
        assert relays.relays[0].expires_at > live_api.services.now().timestamp() + 3000


@pytest.mark.parametrize("transition", ["stop", "delete", "start"])
async def test_newer_build_sends_the_agent_away(live_api: Any, mia: httpx.AsyncClient, transition: str) -> None:
    workspace_id, _ = await make_agent(live_api, mia)
    async with dial(live_api, "secret") as agent:
        await agent.receive()
        await agent.send(HELLO)
        build = (await mia.post(f"/workspaces/{workspace_id}/builds", json={"transition": transition})).json()
        job, _ = await factory.claim(live_api.services, build["id"])
        if transition == "start":
            await factory.finish(live_api.services, job, factory.done(job, serial=2, tokens=("other",)))
        message = await agent.receive()
        assert isinstance(message, agentlink.Shutdown)
        await agent.send(agentlink.Lifecycle(1, "shutting_down", NOW))
        await agent.send(agentlink.Lifecycle(2, "off", NOW))
        while (await agent.receive()) != agentlink.Ack(2):
            pass


async def test_agent_that_the_new_build_keeps_dials_again(live_api: Any, mia: httpx.AsyncClient) -> None:
    workspace_id, agent_id = await make_agent(live_api, mia, "kept")
    async with dial(live_api, "kept") as agent:
        await agent.receive()
        build = (await mia.post(f"/workspaces/{workspace_id}/builds", json={"transition": "start"})).json()
        await factory.build_done(live_api.services, build["id"], serial=2, tokens=("kept",))
        assert await agent.closed() == 4003
    async with dial(live_api, "kept") as agent:
        manifest = await agent.receive()
        assert isinstance(manifest, agentlink.Manifest)
        assert str(manifest.agent_id) != agent_id


async def test_broken_messages(live_api: Any, mia: httpx.AsyncClient) -> None:
    await make_agent(live_api, mia)
    for data in (b"\xc1", msgspec.msgpack.encode(agentlink.Lifecycle(1, "ready", NOW))):
        async with dial(live_api, "secret") as agent:
            await agent.receive()
            await agent.socket.send(data)
            assert await agent.closed() == 1002


async def test_lifecycle_steps_that_make_no_sense_change_nothing(live_api: Any, mia: httpx.AsyncClient) -> None:
    _, agent_id = await make_agent(live_api, mia)
    async with dial(live_api, "secret") as agent:
        await agent.receive()
        await agent.send(HELLO)
        await agent.send(agentlink.Lifecycle(1, "ready", NOW))
        await agent.send(agentlink.Lifecycle(2, "created", NOW))
        while (await agent.receive()) != agentlink.Ack(2):
            pass
        assert (await read_agent(mia, agent_id))["lifecycle_state"] == "ready"


async def test_logs_overflow(live_api: Any, mia: httpx.AsyncClient) -> None:
    _, agent_id = await make_agent(live_api, mia)
    rows = [(UUID(agent_id), uuid4(), NOW, "info", "x" * 100) for _ in range(25)]
    await store_queries.store_logs(live_api.services.pool, rows, limit=1000)
    row = await read_agent(mia, agent_id)
    assert (row["logs_length"], row["logs_overflowed"]) == (1000, True)
    await store_queries.store_logs(live_api.services.pool, rows[:1], limit=10_000)
    assert len((await mia.get(f"/workspaceagents/{agent_id}/logs")).json()) == 10


async def test_watchers(live_api: Any, mia: httpx.AsyncClient) -> None:
    workspace_id, agent_id = await make_agent(live_api, mia)
    token = mia.headers["Coder-Session-Token"]
    base = live_api.base_url.replace("http", "ws") + "/api/v2"
    header = {"Coder-Session-Token": token}

    async def read(socket: ClientConnection) -> Any:
        async with asyncio.timeout(5):
            return msgspec.json.decode(await socket.recv())

    async with (
        connect(f"{base}/workspaceagents/{agent_id}/logs?follow", additional_headers=header) as logs,
        connect(f"{base}/workspaceagents/{agent_id}/watch-metadata-ws", additional_headers=header) as metadata,
        connect(f"{base}/workspaces/{workspace_id}/watch-ws", additional_headers=header) as workspace,
        dial(live_api, "secret") as agent,
    ):
        assert await read(logs) == []
        first = await read(metadata)
        assert (first["type"], first["data"][0]["result"]["value"]) == ("data", "")
        assert (await read(workspace))["data"]["id"] == workspace_id
        await agent.receive()
        await agent.send(HELLO)
        await agent.send(Logs(1, UUID(int=0), [LogLine(NOW, "hello")]))
        await agent.send(agentlink.Metadata(2, [agentlink.MetadataValue("cpu", "9", "", NOW)]))
        assert [line["output"] for line in await read(logs)] == ["hello"]
        assert (await read(metadata))["data"][0]["result"]["value"] == "9"
        while True:
            event = await read(workspace)
            if event["type"] == "data":
                [found] = event["data"]["latest_build"]["resources"][0]["agents"]
                if found["status"] == "connected" and found["version"]:
                    break
    async with asyncio.timeout(5), mia.stream("GET", f"/workspaces/{workspace_id}/watch") as stream:
        lines = stream.aiter_lines()
        event, data = await anext(lines), await anext(lines)
        assert event == "event: data"
        assert msgspec.json.decode(data.removeprefix("data: "))["id"] == workspace_id


async def test_rest_of_the_agent(live_api: Any, mia: httpx.AsyncClient) -> None:
    _, agent_id = await make_agent(live_api, mia)
    agent = await live_api.client("secret")
    nobody = await live_api.client("wrong")
    assert (await nobody.get("/workspaceagents/me/gitsshkey")).status_code == 401
    assert (await agent.get("/workspaceagents/me/gitsshkey")).status_code == 404
    await live_api.services.pool.execute(
        "UPDATE users SET git_public_key = 'pub', git_private_key = 'priv' WHERE username = 'mia'"
    )
    assert (await agent.get("/workspaceagents/me/gitsshkey")).json() == {
        "public_key": "pub",
        "private_key": "priv",
    }
    assert (await agent.get("/workspaceagents/me/external-auth?id=x")).status_code == 404
    source = str(uuid4())
    made = await agent.post("/workspaceagents/me/log-source", json={"id": source, "display_name": "Mine"})
    assert made.status_code == 201
    body = {"log_source_id": source, "logs": [{"created_at": NOW.isoformat(), "output": "hi", "level": "warn"}]}
    assert (await agent.patch("/workspaceagents/me/logs", json=body)).status_code == 200
    [line] = (await mia.get(f"/workspaceagents/{agent_id}/logs")).json()
    assert (line["output"], line["level"], line["source_id"]) == ("hi", "warn", source)
    assert "Mine" in {entry["display_name"] for entry in (await read_agent(mia, agent_id))["log_sources"]}
