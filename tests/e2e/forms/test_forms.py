"""Forms over the WebSocket: a real server, a real provisioner, real Terraform."""

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.conftest import Api

from .conftest import FIRST_ID, open_form, problems_of, push, run_provisioner, values_of
from .templates import CONDITIONAL, STATIC, WITH_MODULE

pytestmark = pytest.mark.slow


@pytest.fixture
async def admin(live_api: Api) -> httpx.AsyncClient:
    return await live_api.client((await live_api.add_user("admin", "owner"))[1])


async def test_conditions_options_and_problems(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, CONDITIONAL)
        async with open_form(live_api, admin, version) as form:
            first = await form.receive()
            assert first.id == FIRST_ID
            assert values_of(first) == {"region": "eu", "size": "1", "who": "admin"}
            assert first.diagnostics == []
            assert problems_of(first) == {}
            region = first.parameters[0]
            assert (region.display_name, region.form_type, region.styling) == (
                "Region",
                "radio",
                {"placeholder": "where"},
            )
            assert [(option.name, option.value.value) for option in region.options] == [
                ("Europe", "eu"),
                ("America", "us"),
            ]

            there = await form.ask({"region": "us"})
            assert values_of(there) == {"region": "us", "size": "4", "licence": None, "who": "admin"}
            assert problems_of(there) == {"licence": ['Parameter "licence" needs a value: it has no default.']}
            assert there.parameters[2].diagnostics[0].extra.code == "required"
            assert [o.value.value for o in there.parameters[1].options] == ["4", "8"]
            assert there.parameters[2].validations[0].validation_regex == "^L-[0-9]+$"

            wrong = await form.ask({"region": "us", "size": "2", "licence": "none"})
            assert problems_of(wrong) == {
                "size": ['Parameter "size": Value must be a valid option; "2" is none of "4" or "8".'],
                "licence": ['Parameter "licence": A licence looks like L-123.'],
            }

            # Nothing can be looked up for this one: Terraform's own error, and what does not depend on it.
            broken = await form.ask({"region": "mars"})
            assert values_of(broken) == {"region": "mars", "who": "admin"}
            assert "main.tf:" in problems_of(broken)[""][0]
            assert "valid option" in problems_of(broken)["region"][0]

            assert problems_of(await form.ask({"region": "us", "licence": "L-1"})) == {}


async def test_modules_bring_parameters(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, WITH_MODULE)
        path = f"/templateversions/{version}/dynamic-parameters/evaluate"
        answer = (await admin.post(path, json={"id": 7, "inputs": {"editor": "vim"}})).json()
        assert answer["id"] == 7
        assert answer["diagnostics"] == []
        found = {parameter["name"]: parameter for parameter in answer["parameters"]}
        assert found["colour"]["value"] == {"value": "the colour for vim", "valid": True}
        assert found["editor"]["icon"] == "/icon/code.svg"
        assert [option["value"]["value"] for option in found["editor"]["options"]] == ["code", "vim"]


async def test_the_form_of_a_workspace_knows_its_last_values(
    live_api: Api, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, STATIC)
        workspace = await make_workspace(admin, version, {"cores": "4"})
        async with open_form(live_api, admin, version, f"?workspace_id={workspace}") as form:
            assert values_of(await form.receive()) == {"cores": "4"}
            less = await form.ask({"cores": "3"})
            assert "previous value 4" in problems_of(less)["cores"][0]
            assert problems_of(await form.ask({"cores": "5"})) == {}
            assert "more than the maximum 8" in problems_of(await form.ask({"cores": "9"}))["cores"][0]


async def test_builds_are_checked_by_the_form(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, CONDITIONAL)
        refused = await post_workspace(admin, version, {"region": "us", "size": "1", "licence": "L-1"})
        assert refused.status_code == 400
        assert [problem["field"] for problem in refused.json()["validations"]] == ["size"]
        workspace = await make_workspace(admin, version, {"region": "us", "size": "8", "licence": "L-1"})
        assert await list_values(admin, workspace) == {
            "region": "us",
            "size": "8",
            "licence": "L-1",
            "who": "admin",
        }
        await build(admin, workspace, "stop")
        assert (await list_values(admin, workspace))["licence"] == "L-1"
        changed = await admin.post(
            f"/workspaces/{workspace}/builds",
            json={"transition": "start", "rich_parameter_values": [{"name": "region", "value": "eu"}]},
        )
        assert changed.status_code == 400  # what may not change
        assert "region" in [problem["field"] for problem in changed.json()["validations"]]
        await build(admin, workspace, "start", {"size": "4"})
        assert (await list_values(admin, workspace))["size"] == "4"


async def test_only_the_newest_of_many_changes_is_answered(
    live_api: Api, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, STATIC)
        async with open_form(live_api, admin, version) as form:
            await form.receive()
            for number in range(1, 41):
                await form.socket.send(f'{{"id": {number}, "inputs": {{"cores": "{number % 8}"}}}}')
            ids = []
            while not ids or ids[-1] != 40:
                ids.append((await form.receive()).id)
            assert ids == sorted(ids)
            assert len(ids) < 20
            await form.socket.send("x" * 300_000)
            with pytest.raises(ConnectionClosedError) as closed:
                await form.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


async def test_a_form_of_another_process_and_five_at_once(
    live_api: Api, second_api: Api, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The provisioner is connected to the second process, the user to the first."""
    async with run_provisioner(second_api, tmp_path):
        version = await push(admin, CONDITIONAL)

        async def fill(region: str) -> str | None:
            async with open_form(live_api, admin, version) as form:
                await form.receive()
                return values_of(await form.ask({"region": region}))["size"]

        sizes = await asyncio.gather(*(fill(region) for region in ("us", "eu", "us", "eu", "us")))
        assert sizes == ["4", "1", "4", "1", "4"]
        assert await live_api.services.pool.fetchval("SELECT count(*) FROM form_requests") == 0


async def test_forms_do_not_wait_for_builds(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """The one provisioner runs a build that ends only when the test says so."""
    go = tmp_path / "go"
    command = f"for i in $(seq 400); do test -e {go} && exit 0; sleep 0.05; done; exit 1"
    slow = f'''
resource "terraform_data" "slow" {{
  provisioner "local-exec" {{
    command = "{command}"
  }}
}}
'''
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, {"main.tf": CONDITIONAL["main.tf"], "slow.tf": slow})
        reply = await post_workspace(admin, version, {})
        assert reply.status_code == 201, reply.text
        async with open_form(live_api, admin, version) as form:
            await form.receive()
            assert values_of(await form.ask({"region": "us"}))["size"] == "4"
        workspace = reply.json()["id"]
        job = (await admin.get(f"/workspaces/{workspace}")).json()["latest_build"]["job"]
        assert job["status"] in ("pending", "running")
        go.touch()
        await wait_build(admin, workspace)


async def test_nobody_can_answer(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    async with run_provisioner(live_api, tmp_path, tags={"gpu": "yes"}):
        version = await push(admin, STATIC, tags={"gpu": "yes"})
    async with asyncio.timeout(10):
        while any(True for _ in live_api.services.forms):
            await asyncio.sleep(0.02)
    reply = await admin.post(f"/templateversions/{version}/dynamic-parameters/evaluate", json={"inputs": {}})
    assert reply.status_code == 503
    assert "gpu=yes" in reply.json()["message"]


async def test_who_may_see_a_form(live_api: Api, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    other_id, token = await live_api.add_user("mia")
    mia = await live_api.client(token)
    async with run_provisioner(live_api, tmp_path):
        version = await push(admin, CONDITIONAL)
        path = f"/templateversions/{version}/dynamic-parameters/evaluate"
        assert (await mia.post(path, json={})).status_code == 404  # in no template yet
        await admin.post("/organizations/default/templates", json={"name": "t", "template_version_id": version})
        mine = (await mia.post(path, json={})).json()
        assert [p["value"]["value"] for p in mine["parameters"] if p["name"] == "who"] == ["mia"]
        for_mia = (await admin.post(path, json={"owner_id": str(other_id)})).json()
        assert [p["value"]["value"] for p in for_mia["parameters"] if p["name"] == "who"] == ["mia"]
        admin_id = (await admin.get("/users/me")).json()["id"]
        assert (await mia.post(path, json={"owner_id": admin_id})).status_code == 404
        with pytest.raises(InvalidStatus):
            async with open_form(live_api, mia, version, f"?user_id={admin_id}"):
                pass


async def make_workspace(client: httpx.AsyncClient, version: str, values: dict[str, str]) -> str:
    reply = await post_workspace(client, version, values)
    assert reply.status_code == 201, reply.text
    workspace = reply.json()["id"]
    await wait_build(client, workspace)
    return str(workspace)


async def post_workspace(client: httpx.AsyncClient, version: str, values: dict[str, str]) -> httpx.Response:
    """A workspace of a template that is made for the version where there is none."""
    found = (await client.get(f"/templateversions/{version}")).json()
    if found.get("template_id") is None:
        body = {"name": "t", "template_version_id": version}
        assert (await client.post("/organizations/default/templates", json=body)).status_code == 201
    body = {"name": "dev", "template_version_id": version, "rich_parameter_values": pairs(values)}
    return await client.post("/users/me/workspaces", json=body)


async def build(
    client: httpx.AsyncClient, workspace: str, transition: str, values: dict[str, str] | None = None
) -> None:
    body = {"transition": transition, "rich_parameter_values": pairs(values or {})}
    reply = await client.post(f"/workspaces/{workspace}/builds", json=body)
    assert reply.status_code == 201, reply.text
    await wait_build(client, workspace)


async def wait_build(client: httpx.AsyncClient, workspace: str) -> None:
    async with asyncio.timeout(30):
        while True:
            job = (await client.get(f"/workspaces/{workspace}")).json()["latest_build"]["job"]
            if job["status"] not in ("pending", "running"):
                assert job["status"] == "succeeded", job
                return
            await asyncio.sleep(0.02)


async def list_values(client: httpx.AsyncClient, workspace: str) -> dict[str, str]:
    latest = (await client.get(f"/workspaces/{workspace}")).json()["latest_build"]["id"]
    return {p["name"]: p["value"] for p in (await client.get(f"/workspacebuilds/{latest}/parameters")).json()}


def pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]
