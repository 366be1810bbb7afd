"""The control link of a real agent process: held, refused, cut; scripts, metadata, health, stop."""

import asyncio
import time
from uuid import uuid4

import msgspec

from devyard.wire import agentlink
from tests.e2e.agent.conftest import Workspace
from tests.e2e.agent.peers import TOKEN, make_script


def with_manifest(workspace: Workspace, **fields: object) -> None:
    workspace.control.manifest = msgspec.structs.replace(workspace.control.manifest, **fields)


async def test_hello_says_who_it_is(workspace: Workspace) -> None:
    (hello,) = workspace.control.of(agentlink.Hello)
    assert hello.os == "linux"
    assert hello.expanded_directory == str(workspace.home)
    assert hello.host_keys[0].startswith("ssh-ed25519 ")
    assert workspace.control.tokens == [TOKEN]
    key = workspace.home / ".devyard" / "agent_host_ed25519"
    assert key.stat().st_mode & 0o777 == 0o600


async def test_host_key_survives_a_restart(workspace: Workspace) -> None:
    assert await workspace.stop() == 0
    await workspace.start()
    await workspace.control.wait_for(lambda: len(workspace.control.of(agentlink.Hello)) == 2)
    first, second = workspace.control.of(agentlink.Hello)
    assert first.host_keys == second.host_keys


async def test_held_request_connects_when_released(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    control.held.clear()
    await idle_workspace.start()
    async with asyncio.timeout(15):
        while not control.tokens:
            await asyncio.sleep(0.01)
    assert control.connections == 0
    released = time.monotonic()
    control.held.set()
    await control.wait_for(lambda: control.connections == 1)
    assert control.connected_at - released < 1.0


async def test_unknown_token_is_explained_and_tried_again(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    control.refusals = [(401, "No agent has this token."), (503, "")]
    await idle_workspace.start()
    await control.wait_state("ready")
    assert "does not accept this agent's token (No agent has this token.)" in idle_workspace.log
    assert TOKEN not in idle_workspace.log


async def test_agent_of_an_old_build_ends_with_its_own_code(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    control.refusals = [(403, ""), (403, "This agent belongs to build 1; the latest is 2.")]
    await idle_workspace.start()
    assert idle_workspace.process is not None
    async with asyncio.timeout(20):
        assert await idle_workspace.process.wait() == 77
    assert "the latest is 2" in idle_workspace.log
    assert len(control.tokens) == 2


async def test_cut_connection_resends_what_was_not_acknowledged(workspace: Workspace) -> None:
    control = workspace.control
    control.is_acking = False
    control.messages.clear()
    app = agentlink.MetadataItem("k", "K", "echo value", 3600, 5)
    await control.send(msgspec.structs.replace(control.manifest, metadata=[app]))
    await control.wait_for(lambda: bool(control.of(agentlink.Metadata)))
    control.messages.clear()
    control.is_acking = True
    assert control.current is not None
    control.current.transport.abort()
    await control.wait_for(lambda: bool(control.of(agentlink.Metadata)))
    (metadata,) = control.of(agentlink.Metadata)
    assert metadata.values[0].value == "value"
    assert "starting" not in control.states  # start scripts run once, whatever reconnects


async def test_start_scripts_logs_and_results(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    ok = make_script(
        "echo one; echo two >&2; echo $CODER_AGENT_TOKEN | wc -c", run_on_start=True, log_path="a.log"
    )
    failing = make_script("#!/bin/sh\nexit 9", run_on_start=True, log_source_id=uuid4())
    with_manifest(idle_workspace, scripts=[ok, failing])
    await idle_workspace.start()
    await control.wait_state("start_error")
    await control.wait_for(lambda: {"one", "two", str(len(TOKEN) + 1)} <= set(control.lines))
    runs = {run.script_id: (run.stage, run.status, run.exit_code) for run in control.of(agentlink.ScriptRun)}
    assert runs == {ok.id: ("start", "ok", 0), failing.id: ("start", "exit_failure", 9)}
    assert "one\ntwo\n" in (idle_workspace.home / "logs/a.log").read_text()


async def test_script_that_exceeds_its_time_is_killed_with_its_children(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    marker = idle_workspace.home / "survived"
    script = make_script(f"(sleep 3; touch {marker}) & sleep 60", run_on_start=True, timeout_s=1)
    with_manifest(idle_workspace, scripts=[script])
    await idle_workspace.start()
    await control.wait_state("start_timeout")
    (run,) = control.of(agentlink.ScriptRun)
    assert run.status == "timed_out"
    await asyncio.sleep(2.5)
    assert not marker.exists()


async def test_script_that_leaves_its_output_open(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    with_manifest(idle_workspace, scripts=[make_script("(sleep 4; echo later) & echo now", run_on_start=True)])
    await idle_workspace.start()
    await control.wait_state("ready")
    (run,) = control.of(agentlink.ScriptRun)
    assert run.status == "pipes_left_open"
    await control.wait_for(lambda: "later" in control.lines)


async def test_cron_script_runs_by_the_clock(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    with_manifest(idle_workspace, scripts=[make_script("echo tick", cron="* * * * * *")])
    await idle_workspace.start()
    await control.wait_for(lambda: len(control.of(agentlink.ScriptRun)) >= 2)
    assert control.of(agentlink.ScriptRun)[0].stage == "cron"


async def test_stop_runs_stop_scripts_then_says_off(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    marker = idle_workspace.home / "stopped"
    with_manifest(idle_workspace, scripts=[make_script(f"touch {marker}", run_on_stop=True)])
    await idle_workspace.start()
    await control.wait_state("ready")
    assert await idle_workspace.stop() == 0
    assert control.states == ["starting", "ready", "shutting_down", "off"]
    assert marker.exists()


async def test_stop_script_has_a_limit(idle_workspace: Workspace) -> None:
    control = idle_workspace.control
    with_manifest(idle_workspace, scripts=[make_script("sleep 60", run_on_stop=True, timeout_s=1)])
    await idle_workspace.start()
    await control.wait_state("ready")
    assert await idle_workspace.stop(10) == 0
    assert control.states[-2:] == ["shutting_down", "shutdown_timeout"]


async def test_server_can_end_it(workspace: Workspace) -> None:
    await workspace.control.send(agentlink.Shutdown("The workspace was deleted."))
    await workspace.control.wait_state("off")
    assert workspace.process is not None
    async with asyncio.timeout(10):
        assert await workspace.process.wait() == 0


async def test_metadata_health_and_stats(idle_workspace: Workspace) -> None:
    control = idle_workspace.control

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    web = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}/healthz?x=1"
    up = agentlink.App(uuid4(), "up", "", url, 1, 2)
    down = agentlink.App(uuid4(), "down", "", "http://127.0.0.1:1/", 1, 2)
    items = [
        agentlink.MetadataItem("good", "", "echo $FROM_TEMPLATE", 1, 1),
        agentlink.MetadataItem("bad", "", "echo oops; exit 4", 3600, 1),
        agentlink.MetadataItem("slow", "", "sleep 30", 3600, 1),
        agentlink.MetadataItem("long", "", "head -c 100000 /dev/zero | tr '\\0' x", 3600, 5),
    ]
    with_manifest(idle_workspace, apps=[up, down], metadata=items, stats_interval_s=1)
    await idle_workspace.start()
    await control.wait_state("ready")
    await idle_workspace.ssh("head -c 5000 /dev/zero")

    def values() -> dict[str, agentlink.MetadataValue]:
        return {value.key: value for message in control.of(agentlink.Metadata) for value in message.values}

    await control.wait_for(lambda: len(values()) == 4)
    assert values()["good"].value == "yes"
    assert values()["bad"].error == "exit status 4: oops"
    assert values()["slow"].error == "no value within 1 s"
    assert len(values()["long"].value) == 2048
    await control.wait_for(lambda: len(control.of(agentlink.AppHealths)) >= 2)
    healths = {
        app: health for message in control.of(agentlink.AppHealths) for app, health in message.healths.items()
    }
    assert healths == {str(up.id): "healthy", str(down.id): "unhealthy"}
    await control.wait_for(lambda: sum(stats.tx_bytes for stats in control.of(agentlink.Stats)) >= 5000)
    web.close()
