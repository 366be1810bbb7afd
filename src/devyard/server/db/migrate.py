"""Numbered SQL migrations, applied in order, each in a transaction, all under one advisory lock.

Called when an API process starts; replicas that start together wait for each other. A database that is newer
than this program is refused: an old server must not write into a schema it does not know.
"""

import re
from importlib import resources

import asyncpg
import structlog

from devyard.server.processes.serverapp import StartRefused

log = structlog.get_logger("db")

LOCK_KEY = 0x6465767961726400
"""`devyard` in ASCII; the advisory lock that serialises migrations."""


class DatabaseTooNew(StartRefused):
    """The database was migrated by a newer version of Devyard."""


def list_migrations() -> list[tuple[int, str, str]]:
    """All (number, name, SQL) in order."""
    found = []
    for entry in resources.files("devyard.server.db.migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append((int(match[1]), match[2], entry.read_text()))
    return sorted(found)


async def migrate(url: str) -> int:
    """Bring the database at `url` to this version; answers how many migrations ran.

    Raises:
        DatabaseTooNew: the database knows migrations that this program does not.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "number int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {r["number"] for r in await connection.fetch("SELECT number FROM schema_migrations")}
        migrations = list_migrations()
        unknown = done - {number for number, _, _ in migrations}
        if unknown:
            raise DatabaseTooNew(
                f"The database has migration {max(unknown)}, newer than this version of Devyard knows "
                f"({migrations[-1][0]}). Install the version that made it, or a later one."
            )
        ran = 0
        for number, name, sql in migrations:
            if number in done:
                continue
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)", number, name
                )
            ran += 1
            log.info("migrated", number=number, name=name)
        return ran
    finally:
        await connection.close()
