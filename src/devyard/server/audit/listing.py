"""The list of audit rows: its filter and its two statements."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.http.filters import escape_like, parse_filter, read_time
from devyard.server.http.ids import parse_id
from devyard.server.http.paging import Page

KEYS = frozenset(
    {
        "resource_type",
        "action",
        "resource_id",
        "resource_target",
        "username",
        "email",
        "request_id",
        "organization",
        "build_reason",
        "date_from",
        "date_to",
    }
)


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `audit_logs` with who did it, where that user is still known."""

    id: UUID
    time: datetime
    user_id: UUID | None
    organization_id: UUID | None
    ip: str
    user_agent: str
    request_id: UUID
    resource_type: str
    resource_id: UUID
    resource_target: str
    action: str
    diff: dict[str, dict[str, object]]
    status_code: int
    additional_fields: dict[str, object]
    username: str | None
    name: str | None
    avatar_url: str | None


def read_filter(q: str) -> tuple[Any, ...]:
    """The statement's arguments for what `q` spells."""
    terms = parse_filter(q, keys=KEYS, default="resource_type")
    until = read_time("date_to", terms["date_to"]) if "date_to" in terms else None
    return (
        terms.get("resource_type") or None,
        terms.get("action") or None,
        _id(terms, "resource_id"),
        f"%{escape_like(terms['resource_target'])}%" if terms.get("resource_target") else None,
        terms.get("username") or None,
        terms.get("email") or None,
        _id(terms, "request_id"),
        terms.get("organization") or None,
        terms.get("build_reason") or None,
        read_time("date_from", terms["date_from"]) if "date_from" in terms else None,
        until + timedelta(days=1) if until else None,
    )


_FROM = """audit_logs a LEFT JOIN users u ON u.id = a.user_id
        WHERE ($1::text IS NULL OR a.resource_type = $1)
          AND ($2::text IS NULL OR a.action = $2)
          AND ($3::uuid IS NULL OR a.resource_id = $3)
          AND ($4::text IS NULL OR a.resource_target ILIKE $4)
          AND ($5::text IS NULL OR lower(u.username) = lower($5))
          AND ($6::text IS NULL OR lower(u.email) = lower($6))
          AND ($7::uuid IS NULL OR a.request_id = $7)
          AND ($8::text IS NULL OR a.organization_id IN (
                SELECT o.id FROM organizations o WHERE lower(o.name) = lower($8) OR o.id::text = $8))
          AND ($9::text IS NULL OR a.additional_fields->>'build_reason' = $9)
          AND ($10::timestamptz IS NULL OR a.time >= $10)
          AND ($11::timestamptz IS NULL OR a.time < $11)"""


async def list_logs(executor: Executor, arguments: tuple[Any, ...], page: Page) -> list[AuditRow]:
    """A page of audit rows, newest first."""
    records = await executor.fetch(
        f"""-- audit.list_logs
        SELECT a.*, u.username, u.name, u.avatar_url FROM {_FROM}
        ORDER BY a.time DESC, a.id LIMIT $12 OFFSET $13
        """,  # noqa: S608  (constant text)
        *arguments,
        page.limit,
        page.offset,
    )
    return [AuditRow(**record) for record in records]


async def count_logs(executor: Executor, arguments: tuple[Any, ...]) -> int:
    """How many rows the filter matches on all pages."""
    count: int = await executor.fetchval(
        f"""-- audit.count_logs
        SELECT count(*) FROM {_FROM}
        """,  # noqa: S608
        *arguments,
    )
    return count


def _id(terms: Mapping[str, str], key: str) -> UUID | None:
    return parse_id(key, terms[key]) if terms.get(key) else None
