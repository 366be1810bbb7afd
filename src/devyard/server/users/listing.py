"""The list of users: its filter and its two statements."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from devyard.server.db.pool import Executor
from devyard.server.http.filters import escape_like, parse_filter, read_choices, read_flag, read_time
from devyard.server.http.paging import Page
from devyard.server.users.queries import USER_COLUMNS, UserRow

KEYS = frozenset(
    {
        "search",
        "name",
        "status",
        "role",
        "login_type",
        "service_account",
        "last_seen_after",
        "last_seen_before",
        "created_after",
        "created_before",
        "github_com_user_id",
    }
)
STATUSES = frozenset({"active", "dormant", "suspended"})
LOGIN_TYPES = frozenset({"password", "github", "oidc", "token", "none"})


class UserFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of users is narrowed to; None does not narrow."""

    only_id: UUID | None = None
    search: str | None = None
    name: str | None = None
    statuses: list[str] | None = None
    roles: list[str] | None = None
    login_types: list[str] | None = None
    last_seen_after: datetime | None = None
    last_seen_before: datetime | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    matches_none: bool = False


def read_filter(q: str, *, only_id: UUID | None) -> UserFilter:
    """The filter that `q` spells; `only_id` is the one user whom the caller may see, if there is a bound."""
    terms = parse_filter(q, keys=KEYS, default="search")
    roles = [part.strip().lower() for part in terms["role"].split(",")] if "role" in terms else None
    return UserFilter(
        only_id=only_id,
        search=_pattern(terms, "search"),
        name=_pattern(terms, "name"),
        statuses=_choices(terms, "status", STATUSES),
        roles=None if roles and "member" in roles else roles,
        login_types=read_choices("login_type", terms["login_type"], LOGIN_TYPES)
        if "login_type" in terms
        else None,
        last_seen_after=_time(terms, "last_seen_after"),
        last_seen_before=_time(terms, "last_seen_before"),
        created_after=_time(terms, "created_after"),
        created_before=_time(terms, "created_before"),
        matches_none="github_com_user_id" in terms
        or ("service_account" in terms and read_flag("service_account", terms["service_account"])),
    )


_WHERE = """u.deleted_at IS NULL AND NOT $11
          AND ($1::uuid IS NULL OR u.id = $1)
          AND ($2::text IS NULL OR u.username ILIKE $2 OR u.email ILIKE $2 OR u.name ILIKE $2)
          AND ($3::text IS NULL OR u.name ILIKE $3)
          AND ($4::text[] IS NULL OR u.status = ANY($4))
          AND ($5::text[] IS NULL OR u.site_roles && $5)
          AND ($6::text[] IS NULL OR u.login_type = ANY($6))
          AND ($7::timestamptz IS NULL OR u.last_seen_at >= $7)
          AND ($8::timestamptz IS NULL OR u.last_seen_at <= $8)
          AND ($9::timestamptz IS NULL OR u.created_at >= $9)
          AND ($10::timestamptz IS NULL OR u.created_at <= $10)"""


async def list_users(executor: Executor, narrowed: UserFilter, page: Page) -> list[UserRow]:
    """A page of users by name."""
    records = await executor.fetch(
        f"""-- users.list_users
        SELECT {USER_COLUMNS} FROM users u
        WHERE {_WHERE}
          AND ($14::uuid IS NULL OR lower(u.username) > (SELECT lower(a.username) FROM users a WHERE a.id = $14))
        ORDER BY lower(u.username), u.id LIMIT $12 OFFSET $13
        """,  # noqa: S608
        *_arguments(narrowed),
        page.limit,
        page.offset,
        page.after_id,
    )
    return [UserRow(**record) for record in records]


async def count_users(executor: Executor, narrowed: UserFilter) -> int:
    """How many users the filter matches on all pages."""
    count: int = await executor.fetchval(
        f"""-- users.count_users
        SELECT count(*) FROM users u WHERE {_WHERE}
        """,  # noqa: S608
        *_arguments(narrowed),
    )
    return count


def _arguments(narrowed: UserFilter) -> tuple[Any, ...]:
    return (
        narrowed.only_id,
        narrowed.search,
        narrowed.name,
        narrowed.statuses,
        narrowed.roles,
        narrowed.login_types,
        narrowed.last_seen_after,
        narrowed.last_seen_before,
        narrowed.created_after,
        narrowed.created_before,
        narrowed.matches_none,
    )


def _choices(terms: Mapping[str, str], key: str, allowed: frozenset[str]) -> list[str] | None:
    return read_choices(key, terms[key], allowed) if key in terms else None


def _pattern(terms: Mapping[str, str], key: str) -> str | None:
    return f"%{escape_like(terms[key])}%" if terms.get(key) else None


def _time(terms: Mapping[str, str], key: str) -> datetime | None:
    return read_time(key, terms[key]) if key in terms else None
