"""Limits by cgroup, each driven over its edge: as host root."""

from pathlib import Path

import pytest

from devyard.provisioner.sandbox.cgroups import find_hierarchies
from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.sandbox.conftest import READY, clean_up, look, spec, wait_until

pytestmark = pytest.mark.root

CONTROLLERS = {name for place in find_hierarchies() for name in place.controllers}


def needs(controller: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(controller not in CONTROLLERS, reason=f"no writable {controller} cgroup here")


async def test_a_fork_bomb_stays_in_its_sandbox(root: Path) -> None:
    runtime = Sandboxes(root, pids_max=64, stop_grace_s=0.2)
    try:
        files = await runtime.create_home("home", name="home")
        bomb = "(i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i+1)); done; echo unreachable) >~/bomb 2>&1"
        await runtime.start(spec(f"{READY}{bomb}; echo >~/over; exec sleep 300"))
        await wait_until((files / "over").exists)
        seen = (files / "bomb").read_text()
        assert "Cannot fork" in seen or "Resource temporarily unavailable" in seen
        assert "unreachable" not in seen
        # Beside it another one works.
        assert await look(runtime, "echo fine", box="other", home="other") == "fine\n"
        await runtime.stop("box")
    finally:
        await clean_up(runtime, root)


@needs("memory")
async def test_memory_beyond_the_limit_ends_the_program_not_the_sandbox(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        "python3 -c 'x = bytearray(40_000_000); print(\"small fits\")'\n"
        "python3 -c 'x = bytearray(300_000_000); print(\"too much\")' || echo ended with $?",
        memory_mb=96,
    )
    assert "small fits" in seen
    assert "too much" not in seen
    assert "ended with 137" in seen
    assert await sandboxes.find("box") is not None


@needs("memory")
async def test_a_full_tmp_or_shm_costs_no_agent(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        "head -c 200000000 /dev/zero >/tmp/big && echo tmp; rm /tmp/big\n"
        "head -c 200000000 /dev/zero >/dev/shm/big && echo shm\n"
        "head -c 200000000 /dev/zero >/run/user/1000/big && echo run",
        memory_mb=96,
    )
    assert "tmp\n" in seen
    assert seen.count("No space left") == 2
    assert await sandboxes.find("box") is not None


@needs("cpu")
async def test_cpus_are_a_quota(sandboxes: Sandboxes) -> None:
    burn = (
        "import time; s = time.process_time(); t = time.monotonic()\n"
        "while time.monotonic() - t < 0.8: pass\n"
        "print((time.process_time() - s) / 0.8)"
    )
    used = float(await look(sandboxes, f"python3 -c '{burn}'", cpus=0.25))
    assert used < 0.45


async def test_it_sees_its_own_limits(sandboxes: Sandboxes) -> None:
    if not CONTROLLERS:
        pytest.skip("no writable cgroup here")
    seen = await look(
        sandboxes,
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; nproc",
        memory_mb=128,
    )
    assert str(128 * 1024 * 1024) in seen
