"""No statement changes the session of a pooled connection: the pool gives connections back as they are.

`server/db/pool.py` saves a round trip for each statement by not resetting. That holds only while nothing outlives
its transaction: settings, session locks, listeners, temporary tables, prepared names, cursors.
"""

import ast
import re
from pathlib import Path

import asyncpg
import pytest

from devyard.server.db.pool import open_pool

SERVER = Path(__file__).parents[2] / "src" / "devyard" / "server"
OWN_CONNECTION = {SERVER / "db" / "migrate.py", SERVER / "db" / "wakeups.py"}
"""These open connections of their own, outside the pool, and close them."""

LASTING = re.compile(
    r"^\s*(SET(?!\s+LOCAL\b)|RESET|LISTEN|UNLISTEN|DISCARD|PREPARE|DEALLOCATE|DECLARE|LOAD)\s"
    r"|\bpg_(try_)?advisory_lock(_shared)?\s*\("
    r"|\bset_config\s*\((?!.*,\s*true\s*\))"
    r"|\bCREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP(ORARY)?\b|\bINTO\s+TEMP(ORARY)?\b",
    re.IGNORECASE | re.MULTILINE,
)
SQL = re.compile(
    r"\s*(--\s\w+\.\w+\n|(SELECT|INSERT|UPDATE|DELETE|WITH|SET|RESET|LISTEN|CREATE|DISCARD|PREPARE)\s)"
)
METHODS = {"add_listener", "set_type_codec", "add_log_listener", "add_termination_listener", "cursor"}


def find_lasting(sql: str) -> str | None:
    """What in a statement would outlive its transaction."""
    for part in re.split(r";\s*", re.sub(r"--[^\n]*", "", sql)):
        # SET stands at the start of a line in an UPDATE, too; a statement of its own begins with it.
        match = LASTING.search(part.strip())
        while match and match.start() > 0 and (match[1] or "").upper() == "SET":
            match = LASTING.search(part.strip(), match.end())
        if match:
            return match[0].strip()
    return None


def read_text(node: ast.AST) -> str:
    """The text of a string, or the fixed parts of an f-string; empty for anything else."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant)]
    return "".join(text for text in texts if isinstance(text, str))


@pytest.mark.parametrize(
    "sql",
    [
        "SET timezone = 'UTC'",
        "-- a.b\nSET search_path TO x",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT 1; SET role x",
        "RESET ALL",
        "LISTEN x",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT set_config('a', 'b', false)",
        "CREATE TEMP TABLE x (y int)",
        "PREPARE x AS SELECT 1",
    ],
)
def test_what_lasts_is_found(sql: str) -> None:
    assert find_lasting(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE users\nSET name = $1",
        "UPDATE users SET name = $1",
        "SET LOCAL lock_timeout = '1s'",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT set_config('a', 'b', true)",
        "SELECT pg_notify('x', $1)",
    ],
)
def test_what_ends_with_its_transaction_is_not(sql: str) -> None:
    assert find_lasting(sql) is None


def test_no_statement_of_the_server_lasts() -> None:
    found, seen = [], 0
    for path in sorted(SERVER.rglob("*.py")):
        if path in OWN_CONNECTION:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(SERVER)}:{getattr(node, 'lineno', 0)}"
            sql = read_text(node)
            if SQL.match(sql):
                seen += 1
                if lasting := find_lasting(sql):
                    found.append(f"{where}: {lasting}")
            elif isinstance(node, ast.Attribute) and node.attr in METHODS and path.name != "pool.py":
                found.append(f"{where}: .{node.attr}")
    assert seen > 80
    assert found == []


async def test_a_connection_comes_back_from_the_pool_as_it_went(database_url: str) -> None:
    """The other half: what a transaction sets for itself is gone, and the pool sends no reset."""
    pool = await open_pool(database_url, max_size=1)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '7s'")
            await connection.execute("SELECT pg_advisory_xact_lock(7)")
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW lock_timeout") == "0"
            assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
            assert isinstance(connection, asyncpg.pool.PoolConnectionProxy)
    finally:
        await pool.close()
