"""Every SQL statement of the server, PREPAREd against the migrated schema."""

import ast
import re
from pathlib import Path

import asyncpg

import devyard.server

SOURCE = Path(devyard.server.__file__).parent


def list_statements() -> dict[str, str]:
    """Name → SQL of each statement that stands in the source as text, f-strings with module constants included."""
    found: dict[str, str] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if "-- " not in text:
            continue
        module = __import__(".".join(path.relative_to(SOURCE.parent.parent).with_suffix("").parts), fromlist=["*"])
        tree = ast.parse(text)
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inside:
                sql = _render(node, vars(module))
                match = re.match(r"-- (\w+\.\w+)\n", sql or "")
                if sql and match:
                    assert found.get(match[1], sql) == sql, f"two statements are named {match[1]}"
                    found[match[1]] = sql
    return found


def _render(node: ast.AST, names: dict[str, object]) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    assert isinstance(node, ast.JoinedStr)
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
            if value.value.id not in names:
                return None
            parts.append(str(names[value.value.id]))
        else:
            return None
    return "".join(parts)


async def test_every_statement_prepares(database_url: str) -> None:
    statements = list_statements()
    assert len(statements) > 80
    connection = await asyncpg.connect(database_url)
    failures = []
    try:
        for name, sql in statements.items():
            try:
                await connection.prepare(sql)
            except asyncpg.PostgresError as error:
                failures.append(f"{name}: {error}")
    finally:
        await connection.close()
    assert failures == []
