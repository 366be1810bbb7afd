"""What routes and loops are given: one object, built once by `app.open_app`, in order, by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from devyard.server.db.wakeups import Wakeups
from devyard.server.forms.seats import FormSeats
from devyard.server.settings import ServerSettings
from devyard.server.tickets.actions import TicketSigner
from devyard.wire.provisionerpackages import TerraformSettings


def read_clock() -> datetime:
    """Now, aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Services:
    """The process's shared objects; `internal_key` signs in this server's own children (built-in provisioners);
    `terraform` goes with every job."""

    settings: ServerSettings
    pool: asyncpg.Pool
    wakeups: Wakeups
    signer: TicketSigner
    deployment_id: UUID
    organization_id: UUID
    internal_key: str
    terraform: TerraformSettings = field(default_factory=TerraformSettings)
    now: Callable[[], datetime] = read_clock
    forms: FormSeats = field(default_factory=FormSeats)
