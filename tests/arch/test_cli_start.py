"""What a command may import before it works: an editor waits for every one of these, for each connection.

By names, not by time, so that it holds on any machine. The figures are in docs/performance.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"asyncio", "asyncssh", "rich", "litestar", "asyncpg", "uvicorn", "grpc", "structlog", "cryptography"}
SLOW_TO_LOAD = {"http.client", "urllib.request", "email", "websockets", "ssl", "tempfile", "subprocess", "yaml"}

PROBE = """
import json, os, sys
from devyard.cli import main
main.end_process = lambda status: None
sys.argv = ["devyard", *json.loads(os.environ["PROBE"])]
try:
    main.run()
except SystemExit:
    pass
os.write(int(os.environ["PROBE_FD"]), json.dumps(sorted(sys.modules)).encode())
"""


def list_imports(tmp_path: Path, *arguments: str) -> set[str]:
    """Modules that a command has loaded when it ends, run against a server that is not there."""
    read, write = os.pipe()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DEVYARD_", "CODER_"))}
    environment |= {
        "PROBE": json.dumps(arguments),
        "PROBE_FD": str(write),
        "DEVYARD_CONFIG_DIR": str(tmp_path),
        "DEVYARD_URL": "http://127.0.0.1:1",
        "DEVYARD_SESSION_TOKEN": "x",
    }
    try:
        subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, pass_fds=[write], capture_output=True, timeout=60
        )
    finally:
        os.close(write)
    with os.fdopen(read) as file:
        return set(json.loads(file.read()))


def test_version_is_answered_without_a_command_line_library(tmp_path: Path) -> None:
    imported = list_imports(tmp_path, "version", "--output", "json")
    assert "devyard.cli.version" in imported
    assert imported.isdisjoint(HEAVY | SLOW_TO_LOAD | {"click", "msgspec", "socket"})
    assert {name for name in imported if name.startswith("devyard.")} == {
        "devyard.cli",
        "devyard.cli.main",
        "devyard.cli.version",
    }


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (("list",), "devyard.cli.workspaces.list"),
        (("ssh", "--stdio", "dev"), "devyard.cli.ssh.command"),
        (("ssh", "dev", "--", "true"), "devyard.cli.ssh.command"),
        (("show", "dev"), "devyard.cli.workspaces.show"),
    ],
)
def test_hot_commands_stay_light(tmp_path: Path, arguments: tuple[str, ...], module: str) -> None:
    imported = list_imports(tmp_path, *arguments)
    assert module in imported
    assert imported.isdisjoint(HEAVY | SLOW_TO_LOAD)


def test_help_imports_no_command(tmp_path: Path) -> None:
    imported = list_imports(tmp_path, "--help")
    families = {name for name in imported if name.startswith("devyard.cli.")}
    assert families <= {f"devyard.cli.{name}" for name in ("main", "root", "lazy", "settings", "failures")}
