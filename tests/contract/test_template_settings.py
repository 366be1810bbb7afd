"""A template's settings, its examples, what becomes of old versions, and values that a client never sees."""

from typing import Any
from uuid import UUID

import httpx

from tests.conftest import Api
from tests.contract.test_templates import imported, push
from tests.db.provisioners.fake import create_version

SETTINGS: dict[str, Any] = {
    "display_name": "Big",
    "default_ttl_ms": 3_600_000,
    "activity_bump_ms": 0,
    "autostop_requirement": {"days_of_week": ["saturday"], "weeks": 2},
    "autostart_requirement": {"days_of_week": ["monday", "friday"]},
    "allow_user_autostart": False,
    "allow_user_autostop": False,
    "allow_user_cancel_workspace_jobs": False,
    "failure_ttl_ms": 60_000,
    "time_til_dormant_ms": 86_400_000,
    "time_til_dormant_autodelete_ms": 172_800_000,
    "require_active_version": True,
    "deprecation_message": "Use the new one.",
    "max_port_share_level": "authenticated",
    "use_classic_parameter_flow": True,
    "cors_behavior": "passthru",
}


async def test_every_setting_is_kept_and_what_is_absent_stays(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "big")
    path = f"/templates/{template['id']}"
    changed = (await owner.patch(path, json=SETTINGS)).json()
    assert {name: changed[name] for name in SETTINGS} == SETTINGS
    assert changed["deprecated"]
    renamed = (await owner.patch(path, json={"name": "bigger"})).json()
    assert renamed["name"] == "bigger"
    assert {name: renamed[name] for name in SETTINGS} == SETTINGS
    audited = (await owner.get("/audit", params={"q": "resource_type:template action:write"})).json()
    assert audited["audit_logs"][-1]["diff"]["cors_behavior"]["new"] == "passthru"


async def test_settings_that_make_no_sense_are_named(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "odd")
    wrong = {
        "max_port_share_level": "everybody",
        "cors_behavior": "never",
        "failure_ttl_ms": -1,
        "autostop_requirement": {"days_of_week": ["someday"], "weeks": 40},
    }
    reply = await owner.patch(f"/templates/{template['id']}", json=wrong)
    assert reply.status_code == 400
    assert {problem["field"] for problem in reply.json()["validations"]} == set(wrong)


async def test_archive_what_failed_then_all_that_is_unused(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "old")
    failed = await imported(api, owner, template_id=template["id"])
    unused = await imported(api, owner, template_id=template["id"])
    waiting = await create_version(owner, template_id=template["id"])
    await api.services.pool.execute(
        "UPDATE provisioner_jobs SET status = 'failed' WHERE id = $1", UUID(failed["job"]["id"])
    )
    path = f"/templates/{template['id']}/versions"
    first = (await owner.post(f"{path}/archive", json={"all": False})).json()
    assert first == {"template_id": template["id"], "archived_ids": [failed["id"]]}
    second = (await owner.post(f"{path}/archive", json={"all": True})).json()
    assert second["archived_ids"] == [unused["id"]]
    left = {version["id"] for version in (await owner.get(path)).json()}
    assert left == {template["active_version_id"], waiting["id"]}
    everything = (await owner.get(path, params={"include_archived": True})).json()
    assert len(everything) == 4
    promoted = await owner.patch(path, json={"id": unused["id"]})
    assert promoted.status_code == 412
    assert "archived" in promoted.json()["message"]


async def test_members_archive_nothing(api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient) -> None:
    template = await push(api, owner, "kept")
    reply = await member.post(f"/templates/{template['id']}/versions/archive", json={"all": True})
    assert reply.status_code == 403


async def test_a_version_from_an_example(owner: httpx.AsyncClient) -> None:
    examples = {example["id"]: example for example in (await owner.get("/templates/examples")).json()}
    assert {"local", "docker", "kubernetes"} <= set(examples)
    for example in examples.values():
        assert example["name"]
        assert example["description"]
        assert example["icon"]
        assert example["markdown"].startswith("# ")
    assert (await owner.get("/organizations/default/templates/examples")).json() == list(examples.values())
    body = {"storage_method": "file", "provisioner": "terraform", "example_id": "docker", "tags": {}}
    path = "/organizations/default/templateversions"
    first, second = [(await owner.post(path, json=body)).json() for _ in range(2)]
    assert first["job"]["file_id"] == second["job"]["file_id"]
    refused = await owner.post(path, json={**body, "example_id": "../local"})
    assert refused.status_code == 400
    assert "docker" in refused.json()["validations"][0]["detail"]


async def test_values_of_the_active_version_go_on_to_the_next(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "vars")
    declared = [
        {
            "name": name,
            "description": "",
            "type": "string",
            "default_value": "",
            "required": True,
            "sensitive": name == "token",
        }
        for name in ("token", "region")
    ]
    second = await imported(
        api,
        owner,
        template_id=template["id"],
        user_variable_values=[{"name": "token", "value": "t-1"}, {"name": "region", "value": "here"}],
    )
    pool = api.services.pool
    await pool.execute("UPDATE template_versions SET variables = $2 WHERE id = $1", UUID(second["id"]), declared)
    promoted = await owner.patch(f"/templates/{template['id']}/versions", json={"id": second["id"]})
    assert promoted.status_code == 200
    third = await imported(
        api, owner, template_id=template["id"], user_variable_values=[{"name": "region", "value": "there"}]
    )
    await pool.execute("UPDATE template_versions SET variables = $2 WHERE id = $1", UUID(third["id"]), declared)
    shown = (await owner.get(f"/templateversions/{third['id']}/variables")).json()
    assert {variable["name"]: variable["value"] for variable in shown} == {"token": "", "region": "there"}
    from devyard.server.templates.version_queries import get_content

    content = await get_content(pool, UUID(third["id"]))
    assert content is not None
    assert {v["name"]: v["value"] for v in content.variable_values} == {"token": "t-1", "region": "there"}
