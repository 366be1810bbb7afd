"""The route of the audit log."""

from typing import Any

from litestar import get

from devyard.server.audit import listing
from devyard.server.audit.listing import AuditRow
from devyard.server.http.guard import needs
from devyard.server.http.paging import read_page
from devyard.server.services import Services
from devyard.wire.identity import AuditLog, AuditLogPage, MinimalUser

VERBS = {
    "create": "created",
    "write": "changed",
    "delete": "deleted",
    "start": "started",
    "stop": "stopped",
    "login": "signed in",
    "logout": "signed out",
}


@get("/audit", opt=needs("audit_log:read"))
async def list_audit_logs(services: Services, q: str = "", limit: int = 0, offset: int = 0) -> AuditLogPage:
    """Writes, newest first."""
    arguments = listing.read_filter(q)
    rows = await listing.list_logs(services.pool, arguments, read_page(limit, offset, default=25))
    return AuditLogPage([log_view(row) for row in rows], await listing.count_logs(services.pool, arguments))


def log_view(row: AuditRow) -> AuditLog:
    """An audit row as the API shows it."""
    user = None
    if row.user_id is not None and row.username is not None:
        user = MinimalUser(row.user_id, row.username, row.name or "", row.avatar_url or "")
    return AuditLog(
        id=row.id,
        request_id=row.request_id,
        time=row.time,
        ip=row.ip,
        user_agent=row.user_agent,
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        resource_target=row.resource_target,
        resource_icon="",
        action=row.action,
        diff=row.diff,
        status_code=row.status_code,
        additional_fields=row.additional_fields,
        description=describe(row),
        resource_link="",
        is_deleted=False,
        organization_id=row.organization_id,
        user=user,
    )


def describe(row: AuditRow) -> str:
    """One sentence about what happened."""
    who, verb = row.username or "The system", VERBS.get(row.action, row.action)
    if row.action == "login" and row.status_code == 401:
        return f"A log-in as {row.username} was refused" if row.username else "A log-in was refused"
    if row.action in ("login", "logout"):
        return f"{who} {verb}"
    return f"{who} {verb} {row.resource_type.replace('_', ' ')} {row.resource_target}".rstrip()


routes: list[Any] = [list_audit_logs]
