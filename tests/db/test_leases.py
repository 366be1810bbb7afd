"""Leases on background work."""

from typing import Any
from uuid import uuid4

from devyard.server.db.leases import claim_lease


async def test_one_holder_at_a_time_and_another_when_it_is_gone(services: Any) -> None:
    one, other, pool = uuid4(), uuid4(), services.pool
    assert await claim_lease(pool, "x", one, duration_s=60)
    assert not await claim_lease(pool, "x", other, duration_s=60)
    assert await claim_lease(pool, "x", one, duration_s=60)
    assert await claim_lease(pool, "y", other, duration_s=60)
    await pool.execute("UPDATE leases SET expires_at = now() - interval '1 second' WHERE name = 'x'")
    assert await claim_lease(pool, "x", other, duration_s=60)
    assert not await claim_lease(pool, "x", one, duration_s=60)
