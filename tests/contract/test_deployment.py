"""What clients ask when they sign in."""

import httpx

from tests.conftest import Api


async def test_what_ide_plugins_ask(member: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    info = (await anonymous.get("/buildinfo")).json()
    assert info["version"].startswith("v0.1.0-devel")
    assert (await member.get("/appearance")).json()["application_name"] == "Devyard"
    assert (await member.get("/deployment/ssh")).json() == {
        "hostname_prefix": "devyard.",
        "hostname_suffix": "devyard",
        "ssh_config_options": {},
    }
    assert (await member.get("/experiments")).json() == []
    entitlements = (await member.get("/entitlements")).json()
    assert entitlements["has_license"] is False
    assert all(feature["enabled"] for feature in entitlements["features"].values())
    assert (await member.get("/regions")).json()["regions"][0]["healthy"] is True
    assert (await member.get("/applications/host")).json() == {"host": ""}
    assert (await member.get("/updatecheck")).json()["current"] is True
    assert (await member.get("/users/roles")).json()[0]["name"] == "owner"


async def test_authcheck(member: httpx.AsyncClient, owner: httpx.AsyncClient) -> None:
    checks = {
        "own": {"object": {"resource_type": "workspace", "owner_id": "me"}, "action": "create"},
        "users": {"object": {"resource_type": "user"}, "action": "create"},
        "templates": {"object": {"resource_type": "template", "any_org": True}, "action": "read"},
    }
    reply = (await member.post("/authcheck", json={"checks": checks})).json()
    assert reply == {"own": True, "users": False, "templates": True}
    assert all((await owner.post("/authcheck", json={"checks": checks})).json().values())


async def test_outside_the_api(api: Api) -> None:
    client = httpx.AsyncClient(transport=api.transport, base_url="http://test")
    async with client:
        assert (await client.get("/healthz")).text == "OK"
        assert (await client.get("/readyz")).text == "OK"
        page = await client.get("/")
        assert "devyard login http://test" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        latency = await client.get("/latency-check")
        assert latency.headers["access-control-allow-origin"] == "*"


async def test_openapi(anonymous: httpx.AsyncClient) -> None:
    schema = (await anonymous.get("/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    assert "/api/v2/users/{user}" in schema["paths"]
    assert "username" in schema["components"]["schemas"]["User"]["properties"]
