"""Deletes what is older than the settings say, table by table, each by a loop and a lease of its own.

Registered by app.py. Invariants: no statement touches more than its rule's batch; between two batches the
database rests for PAUSE_S; a replica that lost the lease stops at the next batch.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import structlog

from devyard.server.background import Loop
from devyard.server.db.leases import claim_lease
from devyard.server.db.pool import Executor
from devyard.server.retention import queries
from devyard.server.services import Services
from devyard.server.settings import ServerSettings

PERIOD_S = 900.0
LEASE_S = PERIOD_S * 0.9
PAUSE_S = 0.1
BATCHES_A_ROUND = 2000
BATCH_ROWS = 1000
KEEP_ENDED_KEYS = timedelta(days=7)
KEEP_UNSEEN_PROVISIONERS = timedelta(days=7)
KEEP_UNUSED_FILES = timedelta(days=1)
KEEP_UNUSED_PACKAGES = timedelta(days=1)

log = structlog.get_logger("retention")

Purge = Callable[[Executor, datetime, int], Awaitable[int]]


class Rule(NamedTuple):
    """A statement, how long its rows are kept (0: for ever), and how many it may touch at once."""

    name: str
    purge: Purge
    keep: timedelta
    batch_rows: int = BATCH_ROWS


def list_rules(settings: ServerSettings) -> list[Rule]:
    """Every rule there is; docs/design/database.md has the same list."""
    return [
        Rule("agent logs", queries.delete_agent_logs, settings.keep_agent_logs),
        Rule("agents without logs", queries.mark_agents_without_logs, settings.keep_agent_logs),
        Rule("build logs", queries.delete_job_logs, settings.keep_build_logs),
        Rule("jobs without logs", queries.mark_jobs_without_logs, settings.keep_build_logs),
        Rule("agent stats", queries.delete_agent_stats, settings.keep_agent_stats),
        Rule("script runs", queries.delete_script_runs, settings.keep_script_runs),
        Rule("ended keys", queries.delete_ended_keys, KEEP_ENDED_KEYS),
        Rule("audit logs", queries.delete_audit_logs, settings.keep_audit_logs),
        Rule("unseen provisioners", queries.delete_old_daemons, KEEP_UNSEEN_PROVISIONERS),
        # A file may have 100 MiB: few at a time.
        Rule("unused files", queries.delete_unused_files, KEEP_UNUSED_FILES, 5),
        Rule("packages of deleted templates", queries.delete_package_references, KEEP_UNUSED_PACKAGES),
        Rule("unused packages", queries.delete_unused_packages, KEEP_UNUSED_PACKAGES, 2),
    ]


def list_loops(services: Services) -> list[Loop]:
    """One loop for each rule that deletes anything, so that a failing one stops no other."""
    holder = uuid4()
    return [
        Loop(f"purge {rule.name}", PERIOD_S, lambda rule=rule: run_rule(services, rule, holder))  # type: ignore[misc]
        for rule in list_rules(services.settings)
        if rule.keep > timedelta(0)
    ]


async def run_rule(services: Services, rule: Rule, holder: UUID, *, pause_s: float = PAUSE_S) -> int:
    """One round under the rule's lease, renewed before each batch; answers how many rows went."""
    before = services.now() - rule.keep
    total = 0
    for _ in range(BATCHES_A_ROUND):
        if not await claim_lease(services.pool, f"retention:{rule.name}", holder, duration_s=LEASE_S):
            break
        count = await _purge_batch(services.pool, rule, before)
        total += count
        if count < rule.batch_rows:
            break
        await asyncio.sleep(pause_s)
    if total:
        log.info("old rows are gone", rule=rule.name, rows=total, before=before.isoformat())
    return total


async def _purge_batch(pool: asyncpg.Pool, rule: Rule, before: datetime) -> int:
    try:
        return await rule.purge(pool, before, rule.batch_rows)
    except asyncpg.ForeignKeyViolationError:
        # Somebody began to use a row at this very moment: it stays, and the others wait for the next round.
        return 0
