"""The list of templates: its filter and its statement."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from devyard.server.access.rules import Actor
from devyard.server.db.pool import Executor
from devyard.server.http.filters import escape_like, parse_filter, read_flag
from devyard.server.http.ids import parse_id
from devyard.server.http.paging import Page
from devyard.server.templates.queries import TEMPLATE_COLUMNS, TEMPLATE_JOINS, TemplateRow

KEYS = frozenset(
    {
        "display_name",
        "name",
        "exact_name",
        "exact_display_name",
        "organization",
        "ids",
        "deprecated",
        "deleted",
        "author",
        "author_id",
        "has-ai-task",
        "has_external_agent",
    }
)


def read_filter(q: str, actor: Actor) -> tuple[Any, ...]:
    """The statement's arguments for what `q` spells."""
    terms = parse_filter(q, keys=KEYS, default="display_name")
    author = actor.username if terms.get("author") == "me" else terms.get("author")
    ids = [parse_id("q", part) for part in terms["ids"].split(",")] if terms.get("ids") else None
    is_none = any(read_flag(key, terms[key]) for key in ("has-ai-task", "has_external_agent") if key in terms)
    is_deleted = read_flag("deleted", terms["deleted"]) if "deleted" in terms else False
    return (
        _pattern(terms.get("name")),
        _pattern(terms.get("display_name")),
        terms.get("exact_name") or None,
        terms.get("exact_display_name") or None,
        terms.get("organization") or None,
        ids,
        read_flag("deprecated", terms["deprecated"]) if "deprecated" in terms else None,
        author or None,
        parse_id("q", terms["author_id"]) if terms.get("author_id") else None,
        is_none,
        is_deleted,
    )


async def list_templates(
    executor: Executor,
    arguments: tuple[Any, ...],
    organization_ids: Sequence[UUID] | None,
    page: Page,
    *,
    deleted_in: Sequence[UUID] | None = None,
) -> list[TemplateRow]:
    """Templates by name.

    `organization_ids` bounds what the caller may see, `deleted_in` what of the deleted ones; None: nothing does.
    """
    records = await executor.fetch(
        f"""-- templates.list_templates
        SELECT {TEMPLATE_COLUMNS} FROM {TEMPLATE_JOINS}
        WHERE (t.deleted_at IS NOT NULL) = $11 AND NOT $10
          AND ($12::uuid[] IS NULL OR t.organization_id = ANY($12))
          AND (NOT $11 OR $13::uuid[] IS NULL OR t.organization_id = ANY($13))
          AND ($1::text IS NULL OR t.name ILIKE $1)
          AND ($2::text IS NULL OR coalesce(nullif(t.display_name, ''), t.name) ILIKE $2 OR t.name ILIKE $2)
          AND ($3::text IS NULL OR lower(t.name) = lower($3))
          AND ($4::text IS NULL OR lower(t.display_name) = lower($4))
          AND ($5::text IS NULL OR lower(o.name) = lower($5) OR o.id::text = $5)
          AND ($6::uuid[] IS NULL OR t.id = ANY($6))
          AND ($7::boolean IS NULL OR (t.deprecation_message <> '') = $7)
          AND ($8::text IS NULL OR lower(u.username) = lower($8))
          AND ($9::uuid IS NULL OR u.id = $9)
        ORDER BY lower(t.name), t.id LIMIT $14 OFFSET $15
        """,  # noqa: S608  (constant text)
        *arguments,
        None if organization_ids is None else list(organization_ids),
        None if deleted_in is None else list(deleted_in),
        page.limit,
        page.offset,
    )
    return [TemplateRow(**record) for record in records]


def _pattern(text: str | None) -> str | None:
    return f"%{escape_like(text)}%" if text else None
