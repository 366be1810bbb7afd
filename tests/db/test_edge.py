"""What every reply carries, and how refusals look."""

from uuid import UUID

import httpx


async def test_unknown_route(anonymous: httpx.AsyncClient) -> None:
    reply = await anonymous.get("/nowhere")
    assert reply.status_code == 404
    assert reply.json()["message"] == "Route not found."
    assert UUID(reply.headers["x-request-id"]) == UUID(reply.json()["request_id"])
    assert reply.headers["x-coder-request-id"] == reply.headers["x-request-id"]
    assert reply.headers["x-coder-build-version"].startswith("v")
    assert reply.headers["x-content-type-options"] == "nosniff"
