"""The path from start to connection loads little: everything else comes after."""

import os
import subprocess
import sys
from pathlib import Path

import devyard

TOO_DEAR = ("asyncssh", "cryptography", "websockets", "psutil", "rich", "litestar", "importlib.metadata", "email")


def test_connecting_imports_no_heavy_module() -> None:
    source = str(Path(devyard.__file__).parent.parent)
    code = "import devyard.agent.program, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(TOO_DEAR).isdisjoint(result.stdout.split())
