"""Refused log-ins on their way to the audit log: gathered in memory, written every few seconds.

Filled by sessions.py, flushed by a loop. Invariants: at most ROWS_A_MINUTE rows of one account a minute, and
as many for all addresses without an account together, so that guessing cannot fill the log; the reply to a wrong
password never waits for a row, so that its time does not tell whether there is such an account.
"""

from datetime import datetime
from uuid import UUID

import asyncpg

from devyard.server.access.rules import RequestInfo
from devyard.server.audit.actions import RefusedLogin, insert_refused_logins
from devyard.server.http.limits import WindowCount

ROWS_A_MINUTE = 10
MAX_BUFFERED = 1000
NOBODY = UUID(int=0)


class Refusals:
    """Refused log-ins that are not in the database yet. Bounded; what does not fit is not recorded."""

    def __init__(self) -> None:
        self._rows: list[RefusedLogin] = []
        self._counts = WindowCount(ROWS_A_MINUTE)

    def add(self, info: RequestInfo, user_id: UUID | None, username: str, *, at: datetime, now_s: float) -> None:
        """Remember one; the address that was typed is not kept, since people type passwords there."""
        if len(self._rows) < MAX_BUFFERED and self._counts.take(str(user_id or NOBODY), now_s):
            self._rows.append(RefusedLogin(info, user_id, username, at))

    async def flush(self, pool: asyncpg.Pool) -> None:
        """Write what has gathered."""
        if self._rows:
            rows, self._rows = self._rows, []
            await insert_refused_logins(pool, rows)
