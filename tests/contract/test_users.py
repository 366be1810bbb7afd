"""Users, roles, tokens, organizations and the audit log over the API."""

import httpx
import pytest

from tests.conftest import Api

NEW = {"email": "kim@example.com", "username": "kim", "name": "Kim", "password": "long-enough-secret"}


async def test_create_list_and_delete(owner: httpx.AsyncClient) -> None:
    made = await owner.post("/users", json={**NEW, "login_type": "password", "organization_ids": None})
    assert made.status_code == 201, made.text
    page = (await owner.get("/users?q=")).json()
    assert page["count"] == 2
    assert [user["username"] for user in page["users"]] == ["admin", "kim"]
    assert (await owner.get("/users?q=ki")).json()["count"] == 1
    assert (await owner.get("/users?q=role:owner")).json()["users"][0]["username"] == "admin"
    assert (await owner.get("/users", params={"q": 'name:"Kim"'})).json()["count"] == 1
    second = (await owner.get("/users?limit=1&offset=1")).json()
    assert (second["count"], second["users"][0]["username"]) == (2, "kim")
    first_id = page["users"][0]["id"]
    assert (await owner.get(f"/users?after_id={first_id}")).json()["users"][0]["username"] == "kim"
    assert (await owner.get("/users/KIM")).json()["id"] == made.json()["id"]
    gone = await owner.delete("/users/kim")
    assert gone.status_code == 200, gone.text
    assert (await owner.get("/users/kim")).status_code == 404
    assert (await owner.post("/users", json=NEW)).status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"username": "a b"}, 400, "username"),
        ({"email": "nothing"}, 400, "email"),
        ({"password": "short"}, 400, "password"),
        ({"username": "me"}, 400, "username"),
        ({"login_type": "nonsense"}, 400, "login_type"),
        ({"username": None}, 400, "username"),
        ({"username": "ADMIN"}, 409, None),
        ({"email": "Admin@example.com"}, 409, None),
    ],
)
async def test_refused_users(
    owner: httpx.AsyncClient, change: dict[str, object], status: int, field: str | None
) -> None:
    reply = await owner.post("/users", json={**NEW, **change})
    assert reply.status_code == status, reply.text
    if field:
        assert field in [item["field"] for item in reply.json()["validations"]]


async def test_unknown_filter_names_q(owner: httpx.AsyncClient) -> None:
    reply = await owner.get("/users?q=colour:red")
    assert reply.status_code == 400
    assert reply.json()["validations"][0]["field"] == "q"


async def test_members_see_themselves_only(api: Api, member: httpx.AsyncClient) -> None:
    await api.add_user("other")
    assert [u["username"] for u in (await member.get("/users")).json()["users"]] == ["mia"]
    for method, path in (("GET", "/users/other"), ("PUT", "/users/other/profile")):
        reply = await member.request(method, path, json={"username": "x"} if method == "PUT" else None)
        assert reply.status_code == 404, path
    assert (await member.post("/users", json=NEW)).status_code == 403
    assert (await member.put("/users/me/roles", json={"roles": ["owner"]})).status_code == 403
    assert (await member.get("/audit")).status_code == 403
    assert (await member.get("/users/other/keys/tokens")).status_code == 404


async def test_the_last_owner_stays(api: Api, owner: httpx.AsyncClient) -> None:
    refused = await owner.put("/users/me/roles", json={"roles": []})
    assert refused.status_code == 409
    _, token = await api.add_user("second", "owner")
    second = await api.client(token)
    assert (await second.put("/users/admin/roles", json={"roles": ["member"]})).status_code == 200
    assert (await owner.get("/users/second")).status_code == 404
    assert (await second.put("/users/me/roles", json={"roles": []})).status_code == 409
    assert (await second.put("/users/me/status/suspend")).status_code == 400
    assert (await second.put("/users/mia/roles", json={"roles": ["wizard"]})).status_code == 404


async def test_passwords(anonymous: httpx.AsyncClient, owner: httpx.AsyncClient, api: Api) -> None:
    await owner.post("/users", json=NEW)
    login = {"email": NEW["email"], "password": NEW["password"]}
    first = await api.client((await anonymous.post("/users/login", json=login)).json()["session_token"])
    other = await api.client((await anonymous.post("/users/login", json=login)).json()["session_token"])
    wrong = await first.put("/users/me/password", json={"old_password": "x", "password": "another-long-one"})
    assert wrong.status_code == 400
    done = await first.put(
        "/users/me/password", json={"old_password": NEW["password"], "password": "another-long-one"}
    )
    assert done.status_code == 204
    assert (await first.get("/users/me")).status_code == 200
    assert (await other.get("/users/me")).status_code == 401
    assert (await anonymous.post("/users/login", json=login)).status_code == 401
    assert (await owner.put("/users/kim/password", json={"password": "set-by-the-admin"})).status_code == 204
    login["password"] = "set-by-the-admin"
    assert (await anonymous.post("/users/login", json=login)).status_code == 201
    weak = (await anonymous.post("/users/validate-password", json={"password": "aaaaaaaa"})).json()
    assert weak["valid"] is False


async def test_tokens(member: httpx.AsyncClient, api: Api) -> None:
    longest = (await member.get("/users/me/keys/tokens/tokenconfig")).json()["max_token_lifetime"]
    made = await member.post("/users/me/keys/tokens", json={"lifetime": longest, "scope": "", "token_name": "ci"})
    assert made.status_code == 201, made.text
    token = made.json()["key"]
    assert (await (await api.client(token)).get("/users/me")).json()["username"] == "mia"
    assert (await member.post("/users/me/keys/tokens", json={"token_name": "ci"})).status_code == 409
    assert (await member.post("/users/me/keys/tokens", json={"lifetime": longest * 2})).status_code == 400
    listed = (await member.get("/users/me/keys/tokens")).json()
    assert [(item["token_name"], item["username"]) for item in listed] == [("ci", "mia")]
    assert "secret" not in str(listed)
    by_name = (await member.get("/users/me/keys/tokens/ci")).json()
    assert by_name["id"] == token.split("-")[0]
    assert (await member.put(f"/users/me/keys/{by_name['id']}/expire")).status_code == 204
    assert (await (await api.client(token)).get("/users/me")).status_code == 401
    assert (await member.get("/users/me/keys/tokens")).json() == []
    assert (await member.delete(f"/users/me/keys/{by_name['id']}")).status_code == 204
    assert (await member.delete(f"/users/me/keys/{by_name['id']}")).status_code == 404
    session = (await member.post("/users/me/keys")).json()["key"]
    assert (await (await api.client(session)).get("/users/me")).status_code == 200


async def test_narrowed_tokens_do_little(member: httpx.AsyncClient, api: Api) -> None:
    body = {"scope": "application_connect", "token_name": "apps"}
    narrow = await api.client((await member.post("/users/me/keys/tokens", json=body)).json()["key"])
    assert (await narrow.get("/users/me")).status_code == 200
    assert (await narrow.post("/users/me/keys")).status_code == 403
    assert (await narrow.post("/users/me/keys/tokens", json={})).status_code == 403


async def test_organizations(member: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    mine = (await member.get("/users/me/organizations")).json()
    assert [item["is_default"] for item in mine] == [True]
    for name in ("default", mine[0]["id"], mine[0]["name"]):
        assert (await member.get(f"/organizations/{name}")).json()["id"] == mine[0]["id"]
    assert (await member.get("/organizations/elsewhere")).status_code == 404
    assert (await member.get(f"/users/me/organizations/{mine[0]['name']}")).status_code == 200
    assert len((await member.get("/organizations/default/members")).json()) == 1
    members = (await owner.get("/organizations/default/members")).json()
    assert [item["username"] for item in members] == ["admin", "mia"]
    assert (await owner.get("/organizations/default/paginated-members?limit=1")).json()["count"] == 2


async def test_git_key(member: httpx.AsyncClient) -> None:
    first = (await member.put("/users/me/gitsshkey")).json()["public_key"]
    assert first.startswith("ssh-ed25519 ")
    assert (await member.get("/users/me/gitsshkey")).json()["public_key"] == first
    assert (await member.put("/users/me/gitsshkey")).json()["public_key"] != first


async def test_every_write_is_audited(owner: httpx.AsyncClient) -> None:
    await owner.post("/users", json=NEW)
    await owner.put("/users/kim/profile", json={"username": "kim", "name": "Kimberly"})
    await owner.put("/users/kim/password", json={"password": "set-by-the-admin"})
    page = (await owner.get("/audit?q=resource_type:user&limit=10")).json()
    assert page["count"] == 3
    password, profile, created = page["audit_logs"]
    assert profile["diff"] == {"name": {"old": "Kim", "new": "Kimberly", "secret": False}}
    assert password["diff"]["password"] == {"old": "", "new": "", "secret": True}
    assert created["description"] == "admin created user kim"
    assert created["ip"] == "192.0.2.1"
    assert NEW["password"] not in str(page)
    assert (await owner.get("/audit?q=username:admin action:delete")).json()["count"] == 0
