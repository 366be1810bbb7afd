"""Finds the template or version that a path names. What one may not see is not there."""

from devyard.server.access.rules import Actor, check
from devyard.server.db.pool import Executor
from devyard.server.http.ids import parse_id
from devyard.server.organizations.lookup import load_organization
from devyard.server.templates import queries, version_queries
from devyard.server.templates.queries import TemplateRow
from devyard.server.templates.version_queries import VersionRow
from devyard.wire.errors import NotFound


async def load_template(
    executor: Executor, actor: Actor, text: str, permission: str = "template:read"
) -> TemplateRow:
    """The template by id, for an actor who may do `permission` to it.

    Raises:
        Invalid: no UUID. NotFound: none that the actor may see. Forbidden: seen, but not for this.
    """
    row = await queries.get_template(executor, parse_id("template", text))
    if row is None:
        raise NotFound
    check(actor, permission, organization_id=row.organization_id)
    return row


async def load_template_by_name(executor: Executor, actor: Actor, organization: str, name: str) -> TemplateRow:
    """The template by organization and name. Raises NotFound: none that the actor may see."""
    found = await load_organization(executor, actor, organization)
    row = await queries.get_template_by_name(executor, found.id, name[:256])
    if row is None:
        raise NotFound
    check(actor, "template:read", organization_id=row.organization_id)
    return row


async def load_version(
    executor: Executor, actor: Actor, text: str, permission: str = "template:read"
) -> VersionRow:
    """The version by id, for an actor who may do `permission` to its template.

    Raises:
        Invalid: no UUID. NotFound: none that the actor may see. Forbidden: seen, but not for this.
    """
    row = await version_queries.get_version(executor, parse_id("templateversion", text))
    if row is None:
        raise NotFound
    if row.template_id is None:
        # Not in use yet: only those who may make templates know of it.
        check(actor, "template:update", organization_id=row.organization_id, can_read=False)
    check(actor, permission, organization_id=row.organization_id)
    return row


async def load_version_by_name(executor: Executor, template: TemplateRow, name: str) -> VersionRow:
    """A template's version by name. Raises NotFound."""
    row = await version_queries.get_version_by_name(executor, template.id, name[:256])
    if row is None:
        raise NotFound
    return row
