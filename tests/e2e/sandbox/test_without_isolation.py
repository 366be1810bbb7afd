"""Isolation `none`, the administrator's choice: the same life as an ordinary process."""

import asyncio
import getpass
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devyard.provisioner.provider.sandboxes import SandboxError
from devyard.provisioner.sandbox.procfs import start_ticks
from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.sandbox.conftest import READY, clean_up, look, spec, wait_until


@pytest.fixture
async def plain(root: Path) -> AsyncIterator[Sandboxes]:
    runtime = Sandboxes(root, isolation="none", stop_grace_s=1)
    yield runtime
    await clean_up(runtime, root)


async def test_it_runs_as_the_provisioners_user_in_its_home(plain: Sandboxes, root: Path) -> None:
    assert await plain.check() is None
    files = await plain.create_home("home", name="home")
    seen = await look(plain, "whoami; pwd; echo $HOME; command -v devyard; command -v coder; env | grep -c PYTEST")
    shims = [str(root / "sandboxes" / "box" / "bin" / name) for name in ("devyard", "coder")]
    assert seen.split() == [getpass.getuser(), str(files), str(files), *shims, "0"]
    status = await plain.find("box")
    assert status is not None
    assert os.getsid(status.pid) != os.getsid(0)


async def test_stop_ends_also_what_left_its_session(plain: Sandboxes, root: Path) -> None:
    files = await plain.create_home("home", name="home")
    script = f"(setsid sh -c 'echo $$ >~/child; exec sleep 300' &)\ntrap 'echo bye >~/bye; exit 0' TERM\n{READY}"
    await plain.start(spec(script + "while :; do sleep 0.05; done"))
    await wait_until(lambda: (files / "child").exists() and (files / "child").read_text().strip() != "")
    child = int((files / "child").read_text())
    assert start_ticks(child) is not None
    await plain.stop("box")
    await plain.stop("box")
    assert (files / "bye").read_text() == "bye\n"
    assert start_ticks(child) is None
    assert list((root / "sandboxes").iterdir()) == []


async def test_one_that_ignores_sigterm_is_killed_with_its_children(plain: Sandboxes) -> None:
    files = await plain.create_home("home", name="home")
    script = (
        f"trap '' TERM\nsetsid sh -c 'echo $$ >~/child; exec sleep 300' &\n{READY}while :; do sleep 0.05; done"
    )
    await plain.start(spec(script))
    await wait_until(lambda: (files / "child").exists() and (files / "child").read_text().strip() != "")
    pid = int((files / "child").read_text())
    await plain.stop("box")
    await wait_until(lambda: start_ticks(pid) is None, 5)


async def test_killed_from_outside_and_early_ends(plain: Sandboxes) -> None:
    await look(plain, "true")
    status = await plain.find("box")
    assert status is not None
    os.kill(status.pid, signal.SIGTERM)
    await wait_until(lambda: start_ticks(status.pid) is None)
    assert await plain.find("box") is None
    with pytest.raises(SandboxError, match=r"exit code 4. Its last output:\noh"):
        await plain.start(spec("echo oh; exit 4"))
    assert await look(plain, "echo again") == "again\n"


async def test_without_a_home_it_has_one_that_ends_with_it(plain: Sandboxes, root: Path) -> None:
    await plain.start(spec(f"pwd; touch x; {READY}exec sleep 300", home=None))
    log = root / "sandboxes" / "box" / "log"
    home = root / "sandboxes" / "box" / "home"
    await wait_until(lambda: log.read_text() != "")
    assert log.read_text() == f"{home}\n"
    await asyncio.gather(plain.stop("box"), plain.stop("box"))
    assert not home.exists()
