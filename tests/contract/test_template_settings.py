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
"""Each other than its default."""


async def test_every_setting_is_kept_and_what_is_absent_stays(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "big")
    path = f"/templates/{template['id']}"
    changed = (await owner.patch(path, json=SETTINGS)).json()
    assert {name: changed[name] for name in SETTINGS} == SETTINGS
    assert changed["deprecated"]
    unchanged = await owner.patch(path, json=SETTINGS)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
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


async def test_what_the_filter_finds(api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient) -> None:
    for name in ("alpha", "beta", "gamma"):
        template = await push(api, owner, name)
    gone = await push(api, owner, "gone")
    await owner.delete(f"/templates/{gone['id']}")
    await owner.patch(f"/templates/{template['id']}", json={"deprecation_message": "old", "display_name": "C 3"})

    async def find(client: httpx.AsyncClient, q: str, **page: int) -> list[str]:
        reply = await client.get("/templates", params={"q": q, **page})
        assert reply.status_code == 200, reply.text
        return [item["name"] for item in reply.json()]

    assert await find(member, "") == ["alpha", "beta", "gamma"]
    assert await find(member, "", limit=2) == ["alpha", "beta"]
    assert await find(member, "", limit=2, offset=2) == ["gamma"]
    assert await find(member, "name:ET") == ["beta"]
    assert await find(member, "exact_name:bet") == []
    assert await find(member, 'display_name:"c 3"') == ["gamma"]
    assert await find(member, 'exact_display_name:"C 3"') == ["gamma"]
    assert await find(member, "deprecated:true") == ["gamma"]
    assert await find(member, "deprecated:false") == ["alpha", "beta"]
    assert await find(member, "organization:default author:admin name:a") == ["alpha", "beta", "gamma"]
    assert await find(member, "organization:other") == []
    assert await find(owner, "author:me") == ["alpha", "beta", "gamma"]
    assert await find(member, "author:me") == []
    assert await find(member, f"author_id:{template['created_by_id']} name:al") == ["alpha"]
    assert await find(member, f"ids:{template['id']},{gone['id']}") == ["gamma"]
    assert await find(member, "has-ai-task:true") == []
    assert await find(owner, "deleted:true") == ["gone"]
    assert await find(member, "deleted:true") == []
    deleted = (await owner.get("/organizations/default/templates", params={"q": "deleted:true"})).json()
    assert [item["deleted"] for item in deleted] == [True]
    for wrong in ("colour:red", "ids:x", "deprecated:perhaps", "name:a name:b", 'name:"a'):
        reply = await owner.get("/templates", params={"q": wrong})
        assert reply.status_code == 400, wrong
        assert reply.json()["validations"][0]["field"] == "q"
    assert (await owner.get("/templates", params={"limit": -1})).status_code == 400


async def test_deprecated_templates_make_no_workspaces(
    api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient
) -> None:
    template = await push(api, owner, "old")
    body = {"name": "dev", "template_id": template["id"]}
    assert (await member.post("/users/me/workspaces", json=body)).status_code == 201
    await owner.patch(f"/templates/{template['id']}", json={"deprecation_message": "Take the new one."})
    refused = await member.post("/users/me/workspaces", json={**body, "name": "dev2"})
    assert refused.status_code == 403
    assert "Take the new one." in refused.json()["message"]
    await owner.patch(f"/templates/{template['id']}", json={"deprecation_message": ""})
    assert (await member.post("/users/me/workspaces", json={**body, "name": "dev2"})).status_code == 201


async def test_members_start_on_the_active_version_only(
    api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient
) -> None:
    template = await push(api, owner, "strict")
    newer = await imported(api, owner, template_id=template["id"])
    await owner.patch(f"/templates/{template['id']}", json={"require_active_version": True})
    path = "/users/me/workspaces"
    other = {"name": "dev", "template_version_id": newer["id"]}
    assert (await member.post(path, json=other)).status_code == 403
    assert (await owner.post(path, json=other)).status_code == 201
    active = {"name": "dev", "template_version_id": template["active_version_id"]}
    assert (await member.post(path, json=active)).status_code == 201


async def test_archived_versions_make_no_workspaces(
    api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient
) -> None:
    template = await push(api, owner, "tidy")
    unused = await imported(api, owner, template_id=template["id"])
    assert (await owner.post(f"/templateversions/{unused['id']}/archive")).status_code == 200
    body = {"name": "dev", "template_version_id": unused["id"]}
    refused = await member.post("/users/me/workspaces", json=body)
    assert refused.status_code == 409
    assert "archived" in refused.json()["message"]
    assert (await owner.post(f"/templateversions/{unused['id']}/unarchive")).status_code == 200
    assert (await member.post("/users/me/workspaces", json=body)).status_code == 201


async def test_version_names_pages_and_messages(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "many")
    for name in ("v2", "v3", "v4"):
        await imported(api, owner, template_id=template["id"], name=name, message=f"this is {name}")
    path = f"/templates/{template['id']}/versions"
    listed = (await owner.get(path)).json()
    assert [version["message"] for version in listed[1:]] == ["this is v2", "this is v3", "this is v4"]
    assert [v["name"] for v in (await owner.get(path, params={"limit": 2, "offset": 1})).json()] == ["v2", "v3"]
    after = (await owner.get(path, params={"limit": 1, "after_id": listed[2]["id"]})).json()
    assert [version["name"] for version in after] == ["v4"]
    body = {
        "storage_method": "file",
        "provisioner": "terraform",
        "file_id": listed[0]["job"]["file_id"],
        "template_id": template["id"],
    }
    create = "/organizations/default/templateversions"
    assert (await owner.post(create, json={**body, "name": "v2"})).status_code == 409
    assert (await owner.post(create, json={**body, "name": "no blanks"})).status_code == 400
    assert (await owner.post(create, json={**body, "message": "x" * 2000})).status_code == 400
    random = (await owner.post(create, json=body)).json()
    assert random["name"]
    edit = f"/templateversions/{listed[1]['id']}"
    assert (await owner.patch(edit, json={"name": "v3"})).status_code == 409
    edited = (await owner.patch(edit, json={"name": "v2b", "message": ""})).json()
    assert (edited["name"], edited["message"]) == ("v2b", "")
    assert (await owner.get(f"{path}/v2")).status_code == 404
    first = await owner.get(f"/organizations/default/templates/many/versions/{listed[0]['name']}/previous")
    assert first.status_code == 404


async def test_an_import_that_waits_says_for_whom(owner: httpx.AsyncClient) -> None:
    version = await create_version(owner, tags={"region": "mars"})
    assert "region=mars" in version["matched_provisioners"]["reason"]
    shown = (await owner.get(f"/templateversions/{version['id']}")).json()
    assert "region=mars" in shown["job"]["waiting_reason"]
