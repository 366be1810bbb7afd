"""Each template of the table ends with a sentence, in bounded time, and leaves nothing behind."""

import asyncio
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from devyard.provisioner.engine.fence import Fence
from devyard.provisioner.link.session import Session
from devyard.wire.provisionerlink import BuildDone, Failed, Limits
from tests.e2e.engine.jobs import build_job, import_job
from tests.e2e.engine.linkserver import LinkServer, pack
from tests.e2e.engine.test_stopping import start_provisioner

from .table import AGENT, MARK, SMALL, TABLE, Broken, script

MAX_LOG_BYTES = 2 << 20
BOTH = {"script that forks for ever", "daemon of a script that fails", "script that never ends"}
CASES = [
    pytest.param(name, broken, id=f"{broken.name} ({name})")
    for broken in TABLE
    for name in ("library", "binary")
    if name == "library" or broken.name in BOTH
]


def find_marked() -> list[str]:
    """Command lines of what the templates of the table have started."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if MARK in line and "pytest" not in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def kill_marked() -> None:
    """Ends what this test has left on purpose."""
    for process in psutil.process_iter(["cmdline"]):
        if MARK in " ".join(process.info["cmdline"] or ()) and "pytest" not in process.info["cmdline"][0]:
            process.kill()


def list_directories(session: Session) -> list[Path]:
    return list(session._tools.work_root.glob("devyard-job-*"))


def is_bounded_here() -> bool:
    """Whether this machine lets groups be made; without them only a slower watch is left."""
    return any("pids.max" in group.files for group in Fence.make()._plan(Limits()))


@pytest.mark.parametrize(("backend", "broken"), CASES, indirect=["backend"])
async def test_broken_template(session: Session, server: LinkServer, broken: Broken) -> None:
    if "forks" in broken.name and not is_bounded_here():
        pytest.skip("no cgroups can be made here; a bomb would be the whole machine's")
    before = psutil.Process().memory_info().rss
    began = time.monotonic()
    work = import_job() if broken.kind == "import" else build_job()
    ticket = await server.submit(pack(broken.files), work, limits=broken.limits)
    result = await ticket.result(broken.within_s + 30)
    took_s = time.monotonic() - began
    assert find_marked() == []
    assert list_directories(session) == []
    assert isinstance(result, Failed), result
    assert result.outcome == "failed"
    assert any(text in result.error for text in broken.says), result.error
    assert len(result.error) < 2000
    assert result.error in ticket.text or result.error.split(" Possibly ")[0] in ticket.text
    assert broken.logs in ticket.text
    assert len(ticket.text) <= MAX_LOG_BYTES
    assert took_s < broken.within_s, took_s
    assert psutil.Process().memory_info().rss - before < 400 << 20
    # The provisioner is well: it takes the next job at once.
    ticket = await server.submit(pack({"main.tf": AGENT}), import_job())
    assert not isinstance(await ticket.result(20), Failed), ticket.text


DAEMON = f"setsid sh -c 'setsid sleep {MARK} & sleep {MARK}' >/dev/null 2>&1 </dev/null &"


@pytest.fixture
def no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no cgroup can be made."""
    monkeypatch.setattr("devyard.provisioner.engine.fence.cgroups.find_hierarchies", lambda: [])


@pytest.mark.parametrize("backend", ["library", "binary"], indirect=True)
async def test_without_groups_daemons_of_a_failure_end(
    no_groups: None, session: Session, server: LinkServer
) -> None:
    ticket = await server.submit(pack(script(f"{DAEMON} exit 3")), build_job(), limits=SMALL)
    assert isinstance(await ticket.result(), Failed)
    assert find_marked() == []
    again = await server.submit(pack(script("true")), build_job(), limits=SMALL)
    assert isinstance(await again.result(), BuildDone)
    assert psutil.Process().children(recursive=True), "the worker stays"
    assert not [p for p in psutil.Process().children(recursive=True) if p.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("has_groups", [True, False])
@pytest.mark.parametrize("backend", ["library", "binary"])
async def test_what_a_successful_build_leaves_running_lives_on(
    server: LinkServer, backend: str, tmp_path: Path, has_groups: bool
) -> None:
    """Templates start agents and other programs in the background; they are the workspace."""
    process = await start_provisioner(server, backend, tmp_path, has_groups=has_groups)
    try:
        quiet = ">/dev/null 2>&1 </dev/null &"
        text = f"nohup sh -c 'sleep {MARK}; true' {quiet} setsid sh -c 'sleep {MARK}; true' {quiet}"
        done = await (await server.submit(pack(script(text)), build_job())).result()
        assert isinstance(done, BuildDone)
        left = find_marked()
        assert len(left) == 4, left
        failing = await server.submit(pack(script(f"{DAEMON} exit 3")), build_job())
        assert isinstance(await failing.result(), Failed)
        assert sorted(find_marked()) == sorted(left), "the next job ends its own only"
        process.kill()
        await process.wait()
        await asyncio.sleep(1)  # nothing has to happen in this time
        assert sorted(find_marked()) == sorted(left), "they outlive their provisioner"
    finally:
        kill_marked()
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("backend", ["library"], indirect=True)
async def test_without_groups_the_watch_counts(no_groups: None, session: Session, server: LinkServer) -> None:
    many = f"i=0; while [ $i -lt 150 ]; do i=$((i+1)); setsid sleep {MARK} & done; sleep {MARK}"
    limits = msgspec.structs.replace(SMALL, processes=100)
    ticket = await server.submit(pack(script(many)), build_job(), limits=limits)
    failed = await ticket.result()
    assert isinstance(failed, Failed)
    assert "more than 100 processes" in failed.error
    assert find_marked() == []


@pytest.mark.parametrize("backend", ["library", "binary"], indirect=True)
async def test_a_killed_provisioner_leaves_no_daemon(server: LinkServer, backend: str, tmp_path: Path) -> None:
    process = await start_provisioner(server, backend, tmp_path)
    try:
        ticket = await server.submit(pack(script(f"{DAEMON} echo begun; sleep {MARK}")), build_job())
        await ticket.wait_line("begun")
        end = time.monotonic() + 10
        while len(find_marked()) < 3:
            assert time.monotonic() < end, find_marked()
            await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
        end = time.monotonic() + 10
        while find_marked():
            assert time.monotonic() < end, find_marked()
            await asyncio.sleep(0.05)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
