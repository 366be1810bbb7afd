"""An editor starts the stream opener for every connection: what it imports is a budget."""

import subprocess
import sys

PROBE = """
import socket, json, sys, time
before, began = set(sys.modules), time.perf_counter()
import devyard.net.client
print(time.perf_counter() - began, *sorted(set(sys.modules) - before))
"""
HEAVY = {"asyncio", "msgspec", "ssl", "cryptography", "urllib.parse", "dataclasses", "structlog", "inspect"}


def test_the_client_imports_little_and_quickly():
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
        taken, *modules = done.stdout.split()
        times.append(float(taken))
        assert not HEAVY & set(modules)
    assert min(times) < 0.015
