"""Signing in as existing clients do it: exact statuses, bodies and cookies."""

from datetime import timedelta
from typing import Any

import httpx

from tests.conftest import Api

FIRST = {
    "email": "ada@example.com",
    "username": "ada",
    "name": "Ada",
    "password": "correct-horse-battery",
    "trial": False,
    "trial_info": {"first_name": "", "developers": ""},
}


async def test_first_user_then_login_then_me(anonymous: httpx.AsyncClient, api: Api) -> None:
    before = await anonymous.get("/users/first")
    assert before.status_code == 404
    assert before.json()["message"] == "The initial user has not been created!"
    made = await anonymous.post("/users/first", json=FIRST)
    assert made.status_code == 201, made.text
    assert set(made.json()) == {"user_id", "organization_id"}
    after = await anonymous.get("/users/first")
    assert (after.status_code, after.json()["message"]) == (200, "The initial user has already been created!")
    again = await anonymous.post("/users/first", json={**FIRST, "email": "b@example.com", "username": "b"})
    assert again.status_code == 400

    login = await anonymous.post("/users/login", json={"email": FIRST["email"], "password": FIRST["password"]})
    assert login.status_code == 201
    token = login.json()["session_token"]
    assert [len(part) for part in token.split("-")] == [10, 22]
    cookie = next(c for c in login.headers.get_list("set-cookie") if c.startswith("coder_session_token"))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    client = await api.client(token)
    me = (await client.get("/users/me")).json()
    assert me["username"] == "ada"
    assert me["roles"] == [{"name": "owner", "display_name": "Owner"}]
    assert me["organization_ids"] == [made.json()["organization_id"]]

    out = await client.post("/users/logout")
    assert (out.status_code, out.json()["message"]) == (200, "Logged out!")
    assert (await client.get("/users/me")).status_code == 401


async def test_two_first_users_at_once_make_one(anonymous: httpx.AsyncClient) -> None:
    import asyncio

    other = {**FIRST, "email": "eve@example.com", "username": "eve"}
    replies = await asyncio.gather(
        anonymous.post("/users/first", json=FIRST), anonymous.post("/users/first", json=other)
    )
    assert sorted(reply.status_code for reply in replies) == [201, 400]


async def test_wrong_password_and_unknown_user_read_alike(anonymous: httpx.AsyncClient) -> None:
    await anonymous.post("/users/first", json=FIRST)
    wrong = await anonymous.post("/users/login", json={"email": FIRST["email"], "password": "nope"})
    unknown = await anonymous.post("/users/login", json={"email": "who@example.com", "password": "nope"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json()["message"] == unknown.json()["message"]


async def test_log_in_is_limited(api: Api, anonymous: httpx.AsyncClient) -> None:
    gate = api.app.gate
    for _ in range(60):
        gate.login_limit.check("account:who@example.com", gate.monotonic())
    body = {"email": "Who@example.com", "password": "x"}
    assert (await anonymous.post("/users/login", json=body)).status_code == 429
    other = {"email": "other@example.com", "password": "x"}
    assert (await anonymous.post("/users/login", json=other)).status_code == 401


async def test_every_way_to_present_a_token(api: Api) -> None:
    _, token = await api.add_user("mia")
    anonymous = await api.client()
    for headers in (
        {"Coder-Session-Token": token},
        {"Devyard-Session-Token": token},
        {"Authorization": f"Bearer {token}"},
        {"Cookie": f"coder_session_token={token}"},
    ):
        assert (await anonymous.get("/users/me", headers=headers)).status_code == 200, headers
    assert (await anonymous.get(f"/users/me?coder_session_token={token}")).status_code == 401
    forged = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert (await anonymous.get("/users/me", headers={"Coder-Session-Token": forged})).status_code == 401
    assert (await anonymous.get("/users/me", headers={"Coder-Session-Token": ""})).status_code == 401


async def test_cookie_writes_need_the_csrf_token(api: Api) -> None:
    _, token = await api.add_user("mia")
    browser = await api.client(headers={"Cookie": f"coder_session_token={token}"})
    seen = await browser.get("/users/me")
    proof = seen.headers["set-cookie"].split("csrf_token=")[1].split(";")[0]
    body = {"username": "mia", "name": "Mia"}
    refused = await browser.put("/users/me/profile", json=body)
    assert refused.status_code == 403
    foreign = await browser.put("/users/me/profile", json=body, headers={"X-CSRF-TOKEN": "0" * 64})
    assert foreign.status_code == 403
    taken = await browser.put("/users/me/profile", json=body, headers={"X-CSRF-TOKEN": proof})
    assert taken.status_code == 200, taken.text


async def test_suspended_and_expired_are_refused(api: Api, owner: httpx.AsyncClient) -> None:
    user_id, token = await api.add_user("mia")
    client = await api.client(token)
    assert (await client.get("/users/me")).status_code == 200
    assert (await owner.put(f"/users/{user_id}/status/suspend")).json()["status"] == "suspended"
    assert (await client.get("/users/me")).status_code == 401
    assert (await owner.put("/users/mia/status/activate")).json()["status"] == "active"

    _, token = await api.add_user("kim")
    await api.services.pool.execute(
        "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1", token.split("-")[0]
    )
    assert (await (await api.client(token)).get("/users/me")).status_code == 401


async def test_use_is_buffered_and_slides_the_session(api: Api, app: Any) -> None:
    _, token = await api.add_user("mia")
    key_id = token.split("-")[0]
    pool = api.services.pool
    old = api.services.now() - timedelta(minutes=30)
    await pool.execute(
        "UPDATE api_keys SET last_used_at = $2, expires_at = expires_at - interval '30 minutes' WHERE id = $1",
        key_id,
        old,
    )
    before = await pool.fetchval("SELECT expires_at FROM api_keys WHERE id = $1", key_id)
    await (await api.client(token)).get("/users/me")
    assert await pool.fetchval("SELECT last_used_at FROM api_keys WHERE id = $1", key_id) == old
    await app.gate.uses.flush(pool)
    row = await pool.fetchrow("SELECT last_used_at, expires_at FROM api_keys WHERE id = $1", key_id)
    assert row["last_used_at"] > old
    assert row["expires_at"] > before
    assert (await pool.fetchval("SELECT last_seen_at FROM users WHERE username = 'mia'")) > old


async def test_refused_log_ins_are_in_the_audit_log_but_cannot_fill_it(
    api: Api, anonymous: httpx.AsyncClient
) -> None:
    gate, pool = api.app.gate, api.services.pool
    await anonymous.post("/users/first", json=FIRST)
    admin = await api.client((await api.add_user("admin", "owner"))[1])
    for index in range(12):
        await anonymous.post("/users/login", json={"email": "Ada@example.com", "password": "nope"})
        await anonymous.post("/users/login", json={"email": f"who{index}@example.com", "password": "nope"})
    await gate.refusals.flush(pool)
    page = (await admin.get("/audit", params={"q": "action:login", "limit": 100})).json()
    refused = [row for row in page["audit_logs"] if row["status_code"] == 401]
    known = [row for row in refused if row["user"]]
    assert (len(known), len(refused)) == (10, 20)
    assert {row["user"]["username"] for row in known} == {"ada"}
    assert known[0]["ip"] == "192.0.2.1"
    assert known[0]["description"] == "A log-in as ada was refused"
    nobody = next(row for row in refused if not row["user"])
    assert (nobody["description"], nobody["resource_target"]) == ("A log-in was refused", "")
    assert "nope" not in str(page)
    assert "who" not in str(refused)


async def test_a_suspended_account_is_refused_and_audited(api: Api, anonymous: httpx.AsyncClient) -> None:
    await anonymous.post("/users/first", json=FIRST)
    await api.services.pool.execute("UPDATE users SET status = 'suspended'")
    reply = await anonymous.post("/users/login", json={"email": FIRST["email"], "password": FIRST["password"]})
    assert reply.status_code == 401
    assert "suspended" in reply.json()["message"]
    await api.app.gate.refusals.flush(api.services.pool)
    where = "action = 'login' AND status_code = 401 AND resource_target = 'ada'"
    assert await api.services.pool.fetchval(f"SELECT count(*) FROM audit_logs WHERE {where}") == 1
