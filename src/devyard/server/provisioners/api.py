"""Routes of provisioners: their socket, their keys, the list of daemons and the list of jobs."""

import hmac
import re
from typing import Any
from uuid import UUID

import msgspec
from litestar import delete, get, post, websocket

from devyard.server.access.rules import Actor, check
from devyard.server.http.guard import needs
from devyard.server.http.ids import parse_id
from devyard.server.http.paging import read_page
from devyard.server.http.streams import AnySocket
from devyard.server.jobs.listing import STATUSES, TYPES, get_listed_job, list_jobs, read_choices, show_jobs
from devyard.server.jobs.rules import without_implied
from devyard.server.jobs.views import present, tags_view
from devyard.server.organizations.lookup import load_organization
from devyard.server.provisioners import actions, queries
from devyard.server.provisioners.link.hub import ProvisionerHub
from devyard.server.provisioners.queries import DaemonRow, KeyRow
from devyard.server.provisioners.signin import MAX_KEY_CHARS, hash_key
from devyard.server.services import Services
from devyard.server.workspaces.owners import load_user_id
from devyard.wire.enums import DaemonStatus
from devyard.wire.errors import Invalid, NotFound, ValidationError
from devyard.wire.jobs import (
    CreateProvisionerKeyRequest,
    CreateProvisionerKeyResponse,
    DaemonJob,
    ProvisionerDaemon,
    ProvisionerJob,
    ProvisionerKey,
    ProvisionerKeyDaemons,
)
from devyard.wire.provisionerlink import SERVE_PATH

ORGANIZATION = "/organizations/{organization:str}"
MAX_IDS = 200
DAEMON_STATUSES = ("offline", "idle", "busy")
_AGE = re.compile(r"(\d{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@get(f"{ORGANIZATION}/provisionerkeys", opt=needs("provisioner_key:read"))
async def list_keys(actor: Actor, services: Services, organization: str) -> list[ProvisionerKey]:
    """The keys of an organization."""
    found = await _load(services, actor, organization, "provisioner_key:read")
    return [key_view(row) for row in await queries.list_keys(services.pool, found)]


@post(f"{ORGANIZATION}/provisionerkeys", opt=needs("provisioner_key:create"))
async def create_key(
    actor: Actor, services: Services, organization: str, data: CreateProvisionerKeyRequest
) -> CreateProvisionerKeyResponse:
    """Make a key; its text is in this answer and nowhere else."""
    found = await _load(services, actor, organization, "provisioner_key:create")
    return CreateProvisionerKeyResponse(await actions.create_key(services, actor, found, data.name, data.tags))


@delete(f"{ORGANIZATION}/provisionerkeys/{{key:str}}", opt=needs("provisioner_key:delete"))
async def delete_key(actor: Actor, services: Services, organization: str, key: str) -> None:
    """Remove a key."""
    found = await _load(services, actor, organization, "provisioner_key:delete")
    await actions.delete_key(services, actor, found, key)


@get(f"{ORGANIZATION}/provisionerkeys/daemons", opt=needs("provisioner_key:read"))
async def list_key_daemons(actor: Actor, services: Services, organization: str) -> list[ProvisionerKeyDaemons]:
    """The keys, each with its daemons."""
    found = await _load(services, actor, organization, "provisioner_key:read")
    daemons = await queries.list_daemons(services.pool, found, limit=1000)
    return [
        ProvisionerKeyDaemons(key_view(key), [daemon_view(d) for d in daemons if d.key_id == key.id])
        for key in await queries.list_keys(services.pool, found)
    ]


@get("/provisionerkeys/{key:str}", opt=needs("provisioner"))
async def get_own_key(services: Services, principal: Any, key: str) -> ProvisionerKey:
    """The key that a provisioner has signed in with; `me`, or the key's own text, name or id."""
    row = await queries.get_key(services.pool, principal.key_id) if principal.key_id else None
    if row is None or not is_named(row, key):
        raise NotFound
    return key_view(row)


@get(f"{ORGANIZATION}/provisionerdaemons", opt=needs("provisioner_daemon:read"))
async def list_daemons(
    actor: Actor,
    services: Services,
    organization: str,
    limit: int = 0,
    ids: str = "",
    status: str = "",
    tags: str = "",
    offline: bool = True,
    max_age: str = "",
) -> list[ProvisionerDaemon]:
    """Provisioners that are or were connected, last seen first; `max_age` as `90s`, `15m`, `2h` or `7d`."""
    found = await _load(services, actor, organization, "provisioner_daemon:read")
    statuses = read_choices("status", status, DAEMON_STATUSES)
    if not offline and statuses is None:
        statuses = ["idle", "busy"]
    rows = await queries.list_daemons(
        services.pool,
        found,
        limit=read_page(limit, default=50).limit,
        ids=read_ids(ids),
        statuses=statuses,
        tags=without_implied(read_tags(tags)),
        max_age_s=read_age(max_age),
    )
    return [daemon_view(row) for row in rows]


@get(f"{ORGANIZATION}/provisionerjobs", opt=needs("provisioner_jobs:read"))
async def list_provisioner_jobs(
    actor: Actor,
    services: Services,
    organization: str,
    limit: int = 0,
    ids: str = "",
    status: str = "",
    tags: str = "",
    type: str = "",
    initiator: str = "",
) -> list[ProvisionerJob]:
    """Jobs, newest first; those that wait with their place and, if nobody can take them, why."""
    found = await _load(services, actor, organization, "provisioner_jobs:read")
    rows = await list_jobs(
        services.pool,
        found,
        limit=read_page(limit, default=50).limit,
        ids=read_ids(ids),
        statuses=read_choices("status", status, STATUSES),
        tags=without_implied(read_tags(tags)),
        types=read_choices("type", type, TYPES),
        initiator_id=await load_user_id(services.pool, actor, initiator) if initiator else None,
    )
    return await show_jobs(services.pool, found, rows)


@get(f"{ORGANIZATION}/provisionerjobs/{{job:str}}", opt=needs("provisioner_jobs:read"))
async def get_provisioner_job(actor: Actor, services: Services, organization: str, job: str) -> ProvisionerJob:
    """One job."""
    found = await _load(services, actor, organization, "provisioner_jobs:read")
    row = await get_listed_job(services.pool, found, parse_id("job", job))
    if row is None:
        raise NotFound
    [view] = await show_jobs(services.pool, found, [row])
    return view


def make_socket_route(hub: ProvisionerHub) -> Any:
    """The provisioners' socket."""
    path = SERVE_PATH.removeprefix("/api/v2").replace("{organization}", "{organization:str}")

    @websocket(path, opt=needs("provisioner"))
    async def serve(socket: AnySocket, principal: Any, organization: str) -> None:
        """Serve one provisioner until it leaves."""
        await hub.serve(socket, principal)

    return serve


def key_view(row: KeyRow) -> ProvisionerKey:
    """A key as the API shows it."""
    return ProvisionerKey(row.id, row.created_at, row.organization_id, row.name, dict(row.tags))


def daemon_view(row: DaemonRow) -> ProvisionerDaemon:
    """A daemon as the API shows it."""
    status: DaemonStatus = "offline" if not row.is_online else "busy" if row.current_job else "idle"
    return ProvisionerDaemon(
        id=row.id,
        organization_id=row.organization_id,
        key_id=row.key_id or row.organization_id,
        created_at=row.created_at,
        name=row.name,
        version=row.version,
        api_version=row.api_version,
        provisioners=["terraform"],
        tags=tags_view(row.tags),
        key_name=row.key_name or "built-in",
        status=status,
        current_job=_job(row.current_job),
        previous_job=_job(row.previous_job),
        last_seen_at=present(row.last_seen_at),
    )


def read_ids(text: str) -> list[UUID] | None:
    """Comma-separated ids. Raises Invalid."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MAX_IDS:
        raise Invalid("There are too many ids.", validations=[ValidationError("ids", f"At most {MAX_IDS}.")])
    return [parse_id("ids", part) for part in parts] or None


def read_tags(text: str) -> dict[str, str]:
    """A JSON object of tags. Raises Invalid."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, str])
    except msgspec.MsgspecError:
        detail = 'Must be a JSON object of texts, for example {"zone":"eu"}.'
        raise Invalid("The tags can't be read.", validations=[ValidationError("tags", detail)]) from None


def read_age(text: str) -> float | None:
    """A length of time in seconds from `90s`, `15m`, `2h`, `7d`, or None for nothing. Raises Invalid."""
    if not text:
        return None
    found = _AGE.fullmatch(text)
    if found is None:
        detail = "Use a number with s, m, h or d, for example 15m."
        raise Invalid("The age can't be read.", validations=[ValidationError("max_age", detail)])
    return float(int(found[1]) * _SECONDS[found[2]])


def is_named(row: KeyRow, text: str) -> bool:
    """Whether a path means this key."""
    by_text = hmac.compare_digest(row.secret_hash, hash_key(text[:MAX_KEY_CHARS]))
    return by_text or text.lower() in ("me", row.name.lower(), str(row.id))


async def _load(services: Services, actor: Actor, organization: str, permission: str) -> UUID:
    found = await load_organization(services.pool, actor, organization)
    check(actor, permission, organization_id=found.id, can_read=True)
    return found.id


def _job(job: dict[str, Any] | None) -> DaemonJob | None:
    return msgspec.convert(job, DaemonJob) if job else None


routes: list[Any] = [
    list_keys,
    create_key,
    delete_key,
    list_key_daemons,
    get_own_key,
    list_daemons,
    list_provisioner_jobs,
    get_provisioner_job,
]
