"""Real sandboxes on this machine: what the tests share."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from devyard.provisioner.provider.sandboxes import SandboxSpec
from devyard.provisioner.sandbox.advice import has_capabilities
from devyard.provisioner.sandbox.runtime import Sandboxes

# Tells the runtime that all is well, as the agent's shim does, so that a start does not watch for 150 ms.
READY = "echo ready >&9; exec 9>&-\n"


def spec(
    script: str,
    *,
    box: str = "box",
    home: str | None = "home",
    env: dict[str, str] | None = None,
    memory_mb: int | None = None,
    cpus: float | None = None,
) -> SandboxSpec:
    """A sandbox that runs `script`."""
    return SandboxSpec(
        id=box,
        home_id=home,
        init_script=script,
        env=env or {},
        cpus=cpus,
        memory_mb=memory_mb,
        hostname="ws",
    )


async def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Waits for something that other processes do."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def look(sandboxes: Sandboxes, script: str, *, box: str = "box", home: str = "home", **more: object) -> str:
    """Runs a script to its end in a sandbox that goes on running, and returns what it printed."""
    files = await sandboxes.create_home(home, name="home")
    name = f"out-{secrets.token_hex(4)}"
    wrapped = (
        f'{READY}{{\n{script}\n}} >"$HOME/{name}.part" 2>&1\nmv "$HOME/{name}.part" "$HOME/{name}"\nexec sleep 300'
    )
    await sandboxes.start(spec(wrapped, box=box, home=home, **more))  # type: ignore[arg-type]
    await wait_until((files / name).exists)
    return (files / name).read_text(errors="replace")


@pytest.fixture(autouse=True)
def _needs_root(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("root") and not (os.geteuid() == 0 and has_capabilities()):
        if os.environ.get("CI") == "true":
            pytest.fail("this test needs root with CAP_SYS_ADMIN")
        pytest.skip("needs root with CAP_SYS_ADMIN")


@pytest.fixture
def root() -> AsyncIterator[Path]:
    """A directory for homes and sandboxes, with a short path and traversable by other users."""
    directory = Path(tempfile.mkdtemp(prefix="dysb-"))
    directory.chmod(0o755)
    yield directory / "data"
    shutil.rmtree(directory)


@pytest.fixture
async def sandboxes(root: Path) -> AsyncIterator[Sandboxes]:
    """The runtime, with a short grace; whatever a test leaves is stopped."""
    runtime = Sandboxes(root, stop_grace_s=3, pids_max=512)
    yield runtime
    await clean_up(runtime, root)


async def clean_up(runtime: Sandboxes, root: Path) -> None:
    """Stops and removes everything below `root`."""
    boxes = root / "sandboxes"
    for path in boxes.iterdir() if boxes.is_dir() else ():
        await runtime.stop(path.name)
    homes = root / "homes"
    for path in homes.iterdir() if homes.is_dir() else ():
        await runtime.delete_home(path.name)
