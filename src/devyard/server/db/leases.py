"""Leases on background work: of all replicas one does a thing, and another takes over when it is gone.

Called by loops. Invariant: a name has at most one living holder; times are the database's, so that clocks of
replicas need not agree.
"""

from uuid import UUID

from devyard.server.db.pool import Executor


async def claim_lease(executor: Executor, name: str, holder: UUID, *, duration_s: float) -> bool:
    """Take or renew a lease for `duration_s` from now; False while somebody else holds it."""
    claimed: bool | None = await executor.fetchval(
        """-- leases.claim_lease
        INSERT INTO leases AS l (name, holder, expires_at)
        VALUES ($1, $2, now() + $3::float8 * interval '1 second')
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
        WHERE l.holder = excluded.holder OR l.expires_at <= now()
        RETURNING true
        """,
        name,
        holder,
        duration_s,
    )
    return bool(claimed)
