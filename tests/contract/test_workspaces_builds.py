"""Builds over versions: updates, presets, automatic updates, states, tags, and who could take the job."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from devyard.wire.parameters import ParameterDefinition, ParameterOption
from tests.contract.test_workspaces import cast, create, running
from tests.db import workspace_factory as factory

__all__ = ["cast"]


async def add_version(cast: dict[str, Any], *parameters: ParameterDefinition, is_active: bool = True) -> str:
    """Another version of the template."""
    _, version_id = await factory.add_template(
        cast["services"], cast["ids"]["owner"], template_id=UUID(cast["template"]), parameters=parameters
    )
    if is_active:
        await cast["services"].pool.execute("UPDATE templates SET active_version_id = $1", version_id)
    return str(version_id)


async def build(cast: dict[str, Any], workspace: dict[str, Any], who: str = "mia", **body: Any) -> httpx.Response:
    """Ask for the next build."""
    reply: httpx.Response = await cast[who].post(
        f"/workspaces/{workspace['id']}/builds", json={"transition": "start", **body}
    )
    return reply


def values(**given: str) -> list[dict[str, str]]:
    """Parameter values as clients send them."""
    return [{"name": name, "value": value} for name, value in given.items()]


async def test_update_carries_values_over_and_asks_again(cast: dict[str, Any]) -> None:
    zone = tuple(ParameterOption(name=name, value=name) for name in ("a", "b"))
    await add_version(
        cast,
        ParameterDefinition(name="zone", form_type="dropdown", default_value="a", mutable=True, options=zone),
        ParameterDefinition(name="fixed", default_value="x"),
        ParameterDefinition(name="once", default_value="no", mutable=True, ephemeral=True),
    )
    workspace = await create(cast, rich_parameter_values=values(zone="b", fixed="y", once="yes"))
    await factory.build_done(cast["services"], workspace["latest_build"]["id"])
    other = await add_version(
        cast,
        ParameterDefinition(
            name="zone",
            form_type="dropdown",
            default_value="c",
            mutable=True,
            options=tuple(ParameterOption(name=name, value=name) for name in ("a", "c")),
        ),
        ParameterDefinition(name="fixed", default_value="z"),
        ParameterDefinition(name="once", default_value="no", mutable=True, ephemeral=True),
        ParameterDefinition(name="size", required=True, mutable=True),
    )
    asked = await build(cast, workspace, template_version_id=other)
    assert asked.status_code == 400
    assert sorted(item["field"] for item in asked.json()["validations"]) == ["size", "zone"]
    assert all(item["detail"] for item in asked.json()["validations"])
    changed = await build(
        cast, workspace, template_version_id=other, rich_parameter_values=values(zone="c", size="L", fixed="q")
    )
    assert [item["field"] for item in changed.json()["validations"]] == ["fixed"]
    updated = await build(
        cast, workspace, template_version_id=other, rich_parameter_values=values(zone="c", size="L")
    )
    assert updated.status_code == 201, updated.text
    kept = (await cast["mia"].get(f"/workspacebuilds/{updated.json()['id']}/parameters")).json()
    found = {item["name"]: item["value"] for item in kept}
    assert found == {"zone": "c", "fixed": "y", "once": "no", "size": "L"}


async def test_restart_is_two_builds_and_the_third_waits_for_neither(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    stopped = await build(cast, workspace, transition="stop")
    assert (await build(cast, workspace)).status_code == 409
    await factory.build_done(cast["services"], stopped.json()["id"], serial=2)
    assert (await build(cast, workspace, reason="dashboard")).json()["build_number"] == 3
    builds = f"/workspaces/{workspace['id']}/builds"
    listed = (await cast["mia"].get(builds, params={"limit": 1, "offset": 1})).json()
    assert [item["build_number"] for item in listed] == [2]
    since = stopped.json()["created_at"]
    listed = (await cast["mia"].get(builds, params={"since": since})).json()
    assert [item["build_number"] for item in listed] == [3]
    assert (await cast["mia"].get(f"/users/me/workspace/dev/builds/{2}")).json()["transition"] == "stop"
    assert (await cast["mia"].get("/users/me/workspace/dev/builds/9")).status_code == 404


async def test_always_updates_and_required_versions(cast: dict[str, Any]) -> None:
    own = await running(cast, "own", "owner")
    mine = await running(cast)
    newer = await add_version(cast)
    await cast["owner"].put(f"/workspaces/{own['id']}/autoupdates", json={"automatic_updates": "always"})
    assert (await build(cast, own, "owner")).json()["template_version_id"] == newer
    refused = await cast["mia"].put(f"/workspaces/{mine['id']}/autoupdates", json={"automatic_updates": "weekly"})
    assert refused.status_code == 400
    await cast["services"].pool.execute("UPDATE templates SET require_active_version = true")
    old = await build(cast, mine, template_version_id=cast["version"])
    assert old.status_code == 403
    stopped = await build(cast, mine, transition="stop")
    assert stopped.json()["template_version_id"] == cast["version"]
    await factory.build_done(cast["services"], stopped.json()["id"], serial=2)
    assert (await build(cast, mine)).json()["template_version_id"] == newer


async def test_presets(cast: dict[str, Any]) -> None:
    version = await add_version(
        cast,
        ParameterDefinition(name="size", default_value="S", mutable=True),
        ParameterDefinition(name="zone", default_value="a", mutable=True),
    )
    preset = str(uuid4())
    await cast["services"].pool.execute(
        "UPDATE template_versions SET presets = $2 WHERE id = $1",
        UUID(version),
        [{"id": preset, "name": "big", "parameters": {"size": "XL", "zone": "b"}}],
    )
    made = await create(cast, template_version_preset_id=preset, rich_parameter_values=values(zone="c"))
    assert made["latest_build"]["template_version_preset_id"] == preset
    kept = (await cast["mia"].get(f"/workspacebuilds/{made['latest_build']['id']}/parameters")).json()
    assert {item["name"]: item["value"] for item in kept} == {"size": "XL", "zone": "c"}
    await factory.build_done(cast["services"], made["latest_build"]["id"])
    unknown = await build(cast, made, template_version_preset_id=str(uuid4()))
    assert unknown.json()["validations"][0]["field"] == "template_version_preset_id"


async def test_only_administrators(cast: dict[str, Any]) -> None:
    workspace = await running(cast)
    for body in ({"log_level": "debug"}, {"state": "e30="}):
        assert (await build(cast, workspace, **body)).status_code == 403
        assert (await build(cast, workspace, "max", **body)).status_code == 404
    assert (await build(cast, workspace, "owner", log_level="debug")).status_code == 201


async def test_build_on_another_state(cast: dict[str, Any]) -> None:
    import base64

    workspace = await running(cast)
    for state, status in ((b"{}", 400), (factory.state(5, "other"), 409), (factory.state(5), 201)):
        reply = await build(cast, workspace, "owner", state=base64.b64encode(state).decode())
        assert reply.status_code == status, reply.text
    _, work = await factory.claim(cast["services"], reply.json()["id"])
    assert work.state == factory.state(5)


async def test_rename_where_it_is_allowed(cast: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = await running(cast)
    path = f"/workspaces/{workspace['id']}"
    refused = await cast["mia"].patch(path, json={"name": "other"})
    assert refused.status_code == 403
    assert "off on this server" in refused.json()["message"]
    monkeypatch.setattr("devyard.server.workspaces.rules.are_renames_allowed", lambda settings: True)
    assert (await cast["mia"].get(path)).json()["allow_renames"] is True
    await create(cast, "taken")
    assert (await cast["mia"].patch(path, json={"name": "taken"})).status_code == 409
    assert (await cast["mia"].patch(path, json={"name": "a b"})).status_code == 400
    assert (await cast["max"].patch(path, json={"name": "other"})).status_code == 404
    assert (await cast["mia"].patch(path, json={"name": "other"})).status_code == 204
    assert (await cast["mia"].get("/users/me/workspace/other")).json()["id"] == workspace["id"]


async def test_a_job_that_nobody_can_take_says_why(cast: dict[str, Any]) -> None:
    pool = cast["services"].pool
    await pool.execute('UPDATE template_versions SET workspace_tags = \'{"zone": "eu"}\'::jsonb')
    workspace = await create(cast)
    build_id = workspace["latest_build"]["id"]
    assert workspace["latest_build"]["job"]["tags"] == {"scope": "organization", "owner": "", "zone": "eu"}
    matched = workspace["latest_build"]["matched_provisioners"]
    assert (matched["count"], matched["available"]) == (0, 0)
    assert "zone=eu" in matched["reason"]
    assert "no provisioner at all" in matched["reason"]
    await pool.execute(
        "INSERT INTO provisioner_daemons (id, organization_id, name, tags) VALUES ($1, $3, 'plain', '{}'), "
        "($2, $3, 'us', '{\"zone\": \"us\"}')",
        uuid4(),
        uuid4(),
        cast["services"].organization_id,
    )
    reply = (await cast["mia"].get(f"/workspacebuilds/{build_id}")).json()
    assert '"us" has zone=us, not eu' in reply["job"]["waiting_reason"]
    assert '"plain" has no tag zone' in reply["job"]["waiting_reason"]
    listed = (await cast["mia"].get("/workspaces")).json()["workspaces"][0]["latest_build"]
    assert listed["matched_provisioners"] == reply["matched_provisioners"]
    await pool.execute("UPDATE provisioner_daemons SET tags = $1 WHERE name = 'us'", {"zone": "eu", "gpu": "1"})
    reply = (await cast["mia"].get(f"/workspacebuilds/{build_id}")).json()
    assert reply["matched_provisioners"]["available"] == 1
    assert "waiting_reason" not in reply["job"]
    await pool.execute("UPDATE provisioner_daemons SET last_seen_at = now() - interval '1 hour'")
    reply = (await cast["mia"].get(f"/workspacebuilds/{build_id}")).json()
    assert "none is connected" in reply["matched_provisioners"]["reason"]
