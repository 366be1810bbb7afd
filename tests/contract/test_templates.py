"""Files, templates and versions over the API, as `templates push|list|edit|delete` ask for them."""

import io
import zipfile
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.conftest import Api
from tests.db.provisioners.fake import create_version, make_tar, upload


async def imported(api: Api, client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """A version whose import has succeeded (as its provisioner would leave it)."""
    version = await create_version(client, **fields)
    await api.services.pool.execute(
        "UPDATE provisioner_jobs SET status = 'succeeded', completed_at = now() WHERE id = $1",
        UUID(version["job"]["id"]),
    )
    return version


async def push(api: Api, client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """A template with one imported version."""
    version = await imported(api, client)
    body = {
        "name": name,
        "template_version_id": version["id"],
        "allow_user_cancel_workspace_jobs": None,
        "disable_everyone_group_access": False,
        "require_active_version": False,
        "max_port_share_level": None,
    }
    reply = await client.post("/organizations/default/templates", json=body)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_upload_twice_is_one_file(owner: httpx.AsyncClient, member: httpx.AsyncClient) -> None:
    first, second = await upload(owner), await upload(owner)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    others = await upload(member)
    assert others.status_code == 201
    assert others.json() != first.json()
    got = await owner.get(f"/files/{first.json()['hash']}")
    assert got.content == make_tar()
    assert got.headers["content-type"].startswith("application/x-tar")
    assert (await member.get(f"/files/{first.json()['hash']}")).status_code == 404
    assert (await owner.get(f"/files/{others.json()['hash']}")).status_code == 200
    assert (await owner.get("/files/nonsense")).status_code == 400


async def test_a_zip_is_kept_as_a_tar_and_given_back_as_either(owner: httpx.AsyncClient) -> None:
    from tests.unit.server.test_zips import make_zip, read_tar

    data = make_zip(("main.tf", b"terraform {}"), ("modules/x.tf", b""))
    for kind, status in (("application/zip", 201), ("application/x-zip-compressed", 200)):
        made = await owner.post("/files", content=data, headers={"Content-Type": kind})
        assert made.status_code == status, made.text
    path = f"/files/{made.json()['hash']}"
    got = await owner.get(path)
    assert got.headers["content-type"].startswith("application/x-tar")
    assert read_tar(got.content) == {"main.tf": b"terraform {}", "modules/x.tf": b""}
    zipped = await owner.get(path, params={"format": "zip"})
    assert zipped.headers["content-type"].startswith("application/zip")
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        assert archive.namelist() == ["main.tf", "modules/x.tf"]
    assert (await owner.get(path, params={"format": "rar"})).status_code == 415


async def test_uploads_that_are_refused(owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from devyard.server.files import rules

    zipped = await owner.post("/files", content=b"PK", headers={"Content-Type": "application/zip"})
    assert zipped.status_code == 400
    other = await owner.post("/files", content=b"PK", headers={"Content-Type": "application/gzip"})
    assert other.status_code == 415
    assert "application/zip" in other.json()["message"]
    assert (await upload(owner, b"not a tar")).status_code == 400
    monkeypatch.setattr(rules, "MAX_UPLOAD_BYTES", 20_000)

    async def parts() -> Any:
        for _ in range(30):
            yield b"x" * 1000

    headers = {"Content-Type": "application/x-tar"}
    assert (await owner.post("/files", content=parts(), headers=headers)).status_code == 413
    assert (await owner.post("/files", content=b"x" * 30_000, headers=headers)).status_code == 413


async def test_a_large_json_body_is_refused(owner: httpx.AsyncClient) -> None:
    reply = await owner.post("/users", content=b'{"name":"' + b"x" * (2 << 20) + b'"}')
    assert reply.status_code == 413, reply.text
    assert (await owner.post("/users", content=b"{")).status_code == 400


async def test_push_list_edit_delete(api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient) -> None:
    assert (await owner.get("/organizations/default/templates/docker")).status_code == 404
    template = await push(api, owner, "docker")
    assert template["activity_bump_ms"] == 3_600_000
    assert template["allow_user_cancel_workspace_jobs"] is True
    assert template["build_time_stats"]["start"] == {"P50": None, "P95": None}
    listed = await member.get("/templates", params={"q": 'exact_name:"docker"'})
    assert [item["id"] for item in listed.json()] == [template["id"]]
    assert (await member.get("/templates", params={"q": 'exact_name:"dock"'})).json() == []
    assert len((await member.get("/templates?q=ock")).json()) == 1
    assert (await member.get("/templates?q=colour:red")).status_code == 400
    by_name = await member.get("/organizations/default/templates/DOCKER")
    assert by_name.json()["id"] == template["id"]

    version = await imported(api, owner, template_id=template["id"], name="v2")
    promoted = await owner.patch(f"/templates/{template['id']}/versions", json={"id": version["id"]})
    assert promoted.json()["message"] == "Updated the active template version!"
    assert (await member.get(f"/templates/{template['id']}")).json()["active_version_id"] == version["id"]
    versions = (await member.get(f"/templates/{template['id']}/versions")).json()
    assert [item["id"] for item in versions] == [template["active_version_id"], version["id"]]
    cursor = versions[0]["id"]
    after = (await member.get(f"/templates/{template['id']}/versions?after_id={cursor}")).json()
    assert [item["name"] for item in after] == ["v2"]
    previous = await member.get("/organizations/default/templates/docker/versions/v2/previous")
    assert previous.json()["id"] == cursor
    assert (await member.get(f"/templates/{template['id']}/versions/v2")).json()["id"] == version["id"]

    edited = await owner.patch(
        f"/templates/{template['id']}", json={"display_name": "Docker", "default_ttl_ms": 0}
    )
    assert edited.json()["display_name"] == "Docker"
    assert edited.json()["name"] == "docker"
    assert (await owner.delete(f"/templates/{template['id']}")).status_code == 200
    assert (await owner.get(f"/templates/{template['id']}")).status_code == 404
    await push(api, owner, "docker")


async def test_what_members_may_not(api: Api, owner: httpx.AsyncClient, member: httpx.AsyncClient) -> None:
    template = await push(api, owner, "docker")
    draft = await create_version(owner)
    path = f"/templates/{template['id']}"
    assert (await member.patch(path, json={"name": "mine"})).status_code == 403
    assert (await member.delete(path)).status_code == 403
    assert (await member.post("/organizations/default/templateversions", json={})).status_code == 403
    assert (await member.get(f"/templateversions/{draft['id']}")).status_code == 404
    active = template["active_version_id"]
    assert (await member.get(f"/templateversions/{active}")).status_code == 200
    assert (await member.get(f"/templateversions/{active}/external-auth")).json() == []
    assert (await member.get("/organizations/default/provisionerkeys")).status_code in (403, 404)


async def test_refused_versions_and_templates(api: Api, owner: httpx.AsyncClient) -> None:
    pending = await create_version(owner)
    body: dict[str, Any] = {"name": "docker", "template_version_id": pending["id"]}
    assert (await owner.post("/organizations/default/templates", json=body)).status_code == 412
    assert (await owner.get(f"/templateversions/{pending['id']}/rich-parameters")).status_code == 412
    template = await push(api, owner, "docker")
    other = await imported(api, owner)
    body["template_version_id"] = other["id"]
    assert (await owner.post("/organizations/default/templates", json=body)).status_code == 409
    body = {"name": "other", "template_version_id": template["active_version_id"]}
    assert (await owner.post("/organizations/default/templates", json=body)).status_code == 409
    foreign = {"id": other["id"]}
    assert (await owner.patch(f"/templates/{template['id']}/versions", json=foreign)).status_code == 404
    no_file = {"provisioner": "terraform", "file_id": str(UUID(int=0))}
    reply = await owner.post("/organizations/default/templateversions", json=no_file)
    assert [item["field"] for item in reply.json()["validations"]] == ["file_id"]
    archived = await owner.post(f"/templateversions/{template['active_version_id']}/archive")
    assert archived.status_code == 409


async def test_a_template_with_workspaces_stays(api: Api, owner: httpx.AsyncClient) -> None:
    template = await push(api, owner, "docker")
    me = (await owner.get("/users/me")).json()
    await api.services.pool.execute(
        "INSERT INTO workspaces (id, owner_id, organization_id, template_id, name) "
        "VALUES (gen_random_uuid(), $1, $2, $3, 'dev')",
        UUID(me["id"]),
        api.services.organization_id,
        UUID(template["id"]),
    )
    reply = await owner.delete(f"/templates/{template['id']}")
    assert reply.status_code == 409
    assert "1 workspace" in reply.json()["message"]
