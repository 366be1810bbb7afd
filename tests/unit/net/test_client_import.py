"""An editor starts the stream opener for every connection: what it imports is a budget."""

import subprocess
import sys

PROBE = """
import socket, json, sys
before = set(sys.modules)
import devyard.net.client
print(*sorted(set(sys.modules) - before))
"""
HEAVY = {"asyncio", "msgspec", "ssl", "cryptography", "urllib.parse", "dataclasses", "structlog", "inspect"}
MOST_MODULES = 30


def test_the_client_imports_little():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "devyard.net.client" in modules
    assert not HEAVY & set(modules)
    assert len(modules) <= MOST_MODULES, modules
