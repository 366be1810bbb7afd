"""The API's description: complete, consistent, and true about sign-in and errors."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from devyard.wire.errors import Response
from tests.conftest import Api

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


@pytest.fixture
async def description(anonymous: httpx.AsyncClient) -> Any:
    """What the server says of itself."""
    reply = await anonymous.get("/openapi.json")
    assert reply.status_code == 200
    return reply.json()


def list_operations(description: Any) -> list[tuple[str, str, Any]]:
    """Every (path, method, operation)."""
    return [
        (path, method, operation)
        for path, item in description["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def walk(value: Any) -> Iterator[Any]:
    """A value and everything in it."""
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(item)


async def test_every_operation_is_complete(description: Any) -> None:
    operations = list_operations(description)
    assert len(operations) > 100
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(set(ids)) == len(ids)
    subjects = {tag["name"] for tag in description["tags"]}
    assert {"users", "workspaces", "templates", "builds", "agents", "files"} <= subjects
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert set(operation["tags"]) <= subjects, where
        assert operation["tags"], where
        assert any(status < "4" for status in operation["responses"]), where
        assert all(re.fullmatch(r"[1-5](\d\d|XX)|default", status) for status in operation["responses"]), where
        named = set(re.findall(r"{([^}]*)}", path))
        declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert declared == named, where
        assert all(p.get("required") for p in operation.get("parameters", []) if p["in"] == "path"), where


async def test_every_reference_leads_somewhere(description: Any) -> None:
    references = {v["$ref"] for v in walk(description) if isinstance(v, dict) and isinstance(v.get("$ref"), str)}
    assert len(references) > 50
    for reference in references:
        target: Any = description
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


async def test_sign_in_is_declared_as_the_guard_holds_it(api: Api, description: Any) -> None:
    schemes = description["components"]["securitySchemes"]
    assert schemes["sessionToken"]["name"] == "Coder-Session-Token"
    used = {name for v in walk(description) if isinstance(v, dict) for s in v.get("security") or () for name in s}
    assert used <= set(schemes)
    anonymous = await api.client()
    checked = 0
    for path, method, operation in list_operations(description):
        if method != "get" or not path.startswith("/api/v2/") or "{" in path:
            continue
        reply = await anonymous.get(path.removeprefix("/api/v2"))
        assert (reply.status_code == 401) == bool(operation["security"]), path
        checked += 1
    assert checked > 20


async def test_errors_have_the_shape_that_is_declared(description: Any, member: httpx.AsyncClient) -> None:
    for path, method, operation in list_operations(description):
        errors = {status: reply for status, reply in operation["responses"].items() if status >= "4"}
        assert errors == {"default": {"$ref": "#/components/responses/Error"}}, f"{method} {path}"
    shape = description["components"]["schemas"]["Response"]
    assert set(shape["properties"]) == {f.name for f in msgspec.structs.fields(Response)}
    reply = await member.post("/users/validate-password", json={"password": 7})
    assert reply.status_code == 400
    assert set(reply.json()) <= set(shape["properties"])
    assert set(shape["required"]) <= set(reply.json())


async def test_the_frameworks_own_pages_are_off(anonymous: httpx.AsyncClient) -> None:
    for path in ("/schema/openapi.json", "/schema/", "/schema/swagger"):
        assert (await anonymous.get(path)).status_code == 404, path
