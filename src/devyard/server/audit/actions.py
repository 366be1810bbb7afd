"""`record` is called inside the transaction of each write, so that no write exists without its audit row."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from devyard.server.access.rules import Actor, RequestInfo
from devyard.server.db.pool import Connection, Executor
from devyard.wire.enums import AuditAction

SECRET_FIELDS = frozenset({"password", "password_hash", "secret", "secret_hash", "token", "private_key"})


async def record(
    connection: Connection,
    actor: Actor,
    action: AuditAction,
    resource_type: str,
    resource_id: UUID,
    *,
    target: str = "",
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    organization_id: UUID | None = None,
    additional: Mapping[str, object] | None = None,
) -> None:
    """Insert the row of one write; `before` and `after` are the fields that a person would compare."""
    await connection.execute(
        """-- audit.insert_log
        INSERT INTO audit_logs (id, user_id, organization_id, ip, user_agent, request_id, resource_type,
                                resource_id, resource_target, action, diff, additional_fields)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        uuid4(),
        actor.user_id,
        organization_id,
        actor.request.ip,
        actor.request.user_agent[:500],
        actor.request.request_id,
        resource_type,
        resource_id,
        target,
        action,
        decide_diff(before or {}, after or {}),
        dict(additional or {}),
    )


class RefusedLogin(NamedTuple):
    """A log-in that was refused: from where, on which account (None where there is no such account), and when."""

    info: RequestInfo
    user_id: UUID | None
    username: str
    at: datetime


async def insert_refused_logins(executor: Executor, refused: Sequence[RefusedLogin]) -> None:
    """Rows of action `login` and status 401, by one statement."""
    await executor.execute(
        """-- audit.insert_refused_logins
        INSERT INTO audit_logs (id, time, user_id, ip, user_agent, request_id, resource_type, resource_id,
                                resource_target, action, status_code)
        SELECT r.id, r.time, r.user_id, r.ip, r.user_agent, r.request_id, 'api_key',
               coalesce(r.user_id, '00000000-0000-0000-0000-000000000000'), r.username, 'login', 401
        FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[])
            AS r (id, time, user_id, ip, user_agent, request_id, username)
        """,
        [uuid4() for _ in refused],
        [row.at for row in refused],
        [row.user_id for row in refused],
        [row.info.ip for row in refused],
        [row.info.user_agent[:500] for row in refused],
        [row.info.request_id for row in refused],
        [row.username for row in refused],
    )


def decide_diff(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The fields that differ, old and new; secrets are marked and left out."""
    diff: dict[str, dict[str, object]] = {}
    for field in sorted({*before, *after}):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        secret = field in SECRET_FIELDS
        diff[field] = {"old": "" if secret else old, "new": "" if secret else new, "secret": secret}
    return diff
