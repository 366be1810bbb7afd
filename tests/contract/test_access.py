"""Every route as nobody, as a member and as an owner: deny by default, checked for the whole table."""

import re
from typing import Any
from uuid import uuid4

import pytest

from devyard.server.access.rules import MEMBER, ROLES
from devyard.server.http import guard
from tests.conftest import Api


def list_routes(api: Api) -> list[tuple[str, str, str]]:
    """(method, path, permission) of every HTTP route."""
    found = []
    for path, handler in guard.list_handlers(api.app.litestar):
        for method in sorted(getattr(handler, "http_methods", ())):
            if method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                found.append((method, path, str(handler.opt[guard.PERMISSION])))
    return found


def fill(path: str) -> str:
    """The path with ids of things that do not exist."""
    path = re.sub(r"\{organization(:\w+)?\}", "default", path)
    path = re.sub(r"\{[^}]*:int\}", "1", path)
    return re.sub(r"\{[^}]*\}", str(uuid4()), path)


def is_granted(permission: str) -> bool:
    """Whether the member role grants a permission at all."""
    resource = permission.partition(":")[0]
    grants = ROLES[MEMBER]
    return any(grants.get(name, "none") != "none" for name in (permission, f"{resource}:*"))


@pytest.fixture
async def clients(api: Api) -> dict[str, Any]:
    """Clients by who they are, for paths from the root."""
    found = {}
    for name, roles in (("member", ()), ("owner", ("owner",))):
        token = (await api.add_user(name, *roles))[1]
        found[name] = await api.client(token)
    found["nobody"] = await api.client()
    for client in found.values():
        client.base_url = "http://test"
    return found


async def test_nobody_gets_401_everywhere(api: Api, clients: dict[str, Any]) -> None:
    wrong = []
    for method, path, permission in list_routes(api):
        reply = await clients["nobody"].request(method, fill(path))
        expected = permission == "public"
        if (reply.status_code != 401) is not expected:
            wrong.append((method, path, permission, reply.status_code))
    assert [item for item in wrong if item[1] not in ("/api/v2/users/first", "/api/v2/users/login")] == []


async def test_members_get_403_or_404_for_what_is_not_theirs(api: Api, clients: dict[str, Any]) -> None:
    wrong = []
    for method, path, permission in list_routes(api):
        if ":" not in permission or is_granted(permission):
            continue
        reply = await clients["member"].request(method, fill(path), json={} if method != "GET" else None)
        if reply.status_code not in (403, 404):
            wrong.append((method, path, permission, reply.status_code))
    assert wrong == []


async def test_owners_get_404_for_what_is_not_there(api: Api, clients: dict[str, Any]) -> None:
    wrong = []
    for method, path, permission in list_routes(api):
        is_thing = "{" in re.sub(r"\{organization[^}]*\}", "", path)
        if method not in ("GET", "DELETE") or not is_thing or permission in ("agent", "provisioner", "public"):
            continue
        reply = await clients["owner"].request(method, fill(path))
        if reply.status_code not in (404, 400):
            wrong.append((method, path, permission, reply.status_code))
    assert wrong == []


async def test_no_route_answers_with_a_defect(api: Api, clients: dict[str, Any]) -> None:
    wrong = []
    for method, path, permission in list_routes(api):
        if permission in ("agent", "provisioner") or path.endswith("logout"):
            continue
        for body in ({}, None, []):
            client = clients["owner"]
            reply = await client.request(
                method, fill(path), json=body if method not in ("GET", "DELETE") else None
            )
            if reply.status_code >= 500:
                wrong.append((method, path, body, reply.status_code))
    assert wrong == []


def test_a_route_without_a_permission_stops_the_start() -> None:
    from litestar import Litestar, get

    @get("/open")
    async def forgotten() -> str:
        return ""

    with pytest.raises(RuntimeError, match="forgotten"):
        guard.check_routes(Litestar([forgotten], openapi_config=None))
