"""Start, find, stop and delete, also when things go wrong: as host root."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devyard.provisioner.provider.sandboxes import SandboxError
from devyard.provisioner.sandbox.cgroups import find_hierarchies
from devyard.provisioner.sandbox.procfs import start_ticks
from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.sandbox.conftest import READY, look, spec, wait_until

pytestmark = pytest.mark.root


def traces(root: Path, box: str = "box") -> list[str]:
    """What is left of a sandbox: files, mounts, cgroups, processes."""
    found = [str(path) for path in (root / "sandboxes").glob(f"{box}*")]
    found += [str(path) for path in (root / "locks").glob(f"*{box}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]
    tag = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    for place in find_hierarchies():
        found += [str(path) for path in Path(place.base, "devyard").glob(f"{tag}-{box}*")]
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{root}/sandboxes/{box}/" in (path / "mountinfo").read_text():
                found.append(f"process {path.name} still has a mount of it")
    return found


async def test_find_list_and_stop(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    status = await sandboxes.find("box")
    assert status is not None
    assert start_ticks(status.pid) is not None
    assert await sandboxes.list() == [status]
    assert await sandboxes.find("other") is None
    await sandboxes.stop("box")
    assert start_ticks(status.pid) is None
    assert await sandboxes.find("box") is None
    assert await sandboxes.list() == []
    assert traces(root) == []


async def test_stop_and_delete_twice_and_of_nothing(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    for _ in range(2):
        await sandboxes.stop("box")
    for _ in range(2):
        await sandboxes.delete_home("home")
    assert await sandboxes.home_path("home") is None
    assert [path.name for path in root.rglob("*") if path.is_file()] == []


async def test_the_home_survives_and_goes_with_delete(sandboxes: Sandboxes) -> None:
    files = await sandboxes.create_home("home", name="home")
    assert await sandboxes.home_path("home") == files
    assert "README" not in os.listdir(files)
    await look(sandboxes, "echo kept > README; mkdir -m 0 closed; echo gone > /tmp/x")
    await sandboxes.stop("box")
    assert await sandboxes.create_home("home", name="home") == files
    assert "kept\nls: cannot access '/tmp/x'" in await look(sandboxes, "cat README; ls /tmp/x", box="box-2")
    await sandboxes.stop("box-2")
    await sandboxes.delete_home("home")
    assert not files.exists()


async def test_stop_lets_the_agent_end_its_work(sandboxes: Sandboxes, root: Path) -> None:
    files = await sandboxes.create_home("home", name="home")
    await sandboxes.start(
        spec(f"trap 'sleep 0.2; echo bye >~/bye; exit 0' TERM\n{READY}while :; do sleep 0.05; done")
    )
    await sandboxes.stop("box")
    assert (files / "bye").read_text() == "bye\n"
    assert traces(root) == []


async def test_one_that_ignores_sigterm_is_killed(root: Path) -> None:
    impatient = Sandboxes(root, stop_grace_s=0.2)
    await impatient.create_home("home", name="home")
    script = f"trap '' TERM\n(trap '' TERM HUP; setsid sleep 300) &\n{READY}while :; do sleep 0.05; done"
    status = await impatient.start(spec(script))
    await impatient.stop("box")
    assert start_ticks(status.pid) is None
    assert traces(root) == []
    await impatient.delete_home("home")


async def test_killed_from_outside_it_is_gone_and_can_start_again(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    status = await sandboxes.find("box")
    assert status is not None
    os.kill(status.pid, signal.SIGKILL)
    await wait_until(lambda: start_ticks(status.pid) is None)
    assert await sandboxes.find("box") is None
    assert await sandboxes.list() == []
    assert await look(sandboxes, "echo again") == "again\n"
    again = await sandboxes.find("box")
    assert again is not None
    assert again.pid != status.pid
    await sandboxes.stop("box")
    assert traces(root) == []


async def test_a_pid_that_is_used_again_is_not_touched(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    status = await sandboxes.find("box")
    assert status is not None
    record = root / "sandboxes" / "box" / "record.json"
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        fields = json.loads(record.read_bytes())
        record.write_text(json.dumps({**fields, "pid": stranger.pid}))
        assert await sandboxes.find("box") is None
        await sandboxes.stop("box")
        assert stranger.poll() is None
        record.parent.mkdir()
        rebooted = {**fields, "pid": stranger.pid, "start_ticks": start_ticks(stranger.pid), "boot_id": "other"}
        record.write_text(json.dumps(rebooted))
        assert await sandboxes.find("box") is None
        await sandboxes.stop("box")
        assert stranger.poll() is None
        # The counter-check: without the reboot that very record is believed.
        record.parent.mkdir()
        record.write_text(json.dumps({**rebooted, "boot_id": fields["boot_id"]}))
        assert await sandboxes.find("box") is not None
        await sandboxes.stop("box")
        assert start_ticks(stranger.pid) is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_the_same_id_started_twice_is_one_sandbox(sandboxes: Sandboxes) -> None:
    await sandboxes.create_home("home", name="home")
    one, two = await asyncio.gather(*(sandboxes.start(spec(f"{READY}exec sleep 300")) for _ in range(2)))
    assert one == two


async def test_a_second_sandbox_takes_the_home_over(sandboxes: Sandboxes) -> None:
    await look(sandboxes, "true", box="forgotten")
    await look(sandboxes, "true", box="fresh")
    assert [status.id for status in await sandboxes.list()] == ["fresh"]


async def test_deleting_a_home_ends_its_sandbox(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    await sandboxes.delete_home("home")
    assert await sandboxes.list() == []
    assert traces(root) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.04, 0.08])
async def test_stop_while_starting_leaves_nothing(sandboxes: Sandboxes, root: Path, delay_s: float) -> None:
    await sandboxes.create_home("home", name="home")
    starting = asyncio.create_task(sandboxes.start(spec(f"{READY}exec sleep 300")))
    await asyncio.sleep(delay_s)
    await sandboxes.stop("box")
    await starting
    await sandboxes.stop("box")
    assert await sandboxes.list() == []
    assert traces(root) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.04, 0.08])
async def test_a_cancelled_start_leaves_nothing(sandboxes: Sandboxes, root: Path, delay_s: float) -> None:
    await sandboxes.create_home("home", name="home")
    starting = asyncio.create_task(sandboxes.start(spec("exec sleep 300")))
    await asyncio.sleep(delay_s)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert traces(root) == []


async def test_a_script_that_ends_at_once_is_an_error_with_its_words(sandboxes: Sandboxes, root: Path) -> None:
    await sandboxes.create_home("home", name="home")
    with pytest.raises(SandboxError, match=r"exit code 3. Its last output:\nno agent here"):
        await sandboxes.start(spec("echo no agent here >&2; exit 3"))
    with pytest.raises(SandboxError, match="exit code 127"):
        await sandboxes.start(spec("exec /no/such/program"))
    with pytest.raises(SandboxError, match="There is no home nowhere"):
        await sandboxes.start(spec("sleep 9", home="nowhere"))
    assert traces(root) == []


async def test_a_sandbox_without_home_has_one_of_its_own(sandboxes: Sandboxes, root: Path) -> None:
    await sandboxes.start(spec(f"touch ~/x && whoami && {READY}exec sleep 300", home=None))
    assert await sandboxes.find("box") is not None
    await sandboxes.stop("box")
    assert traces(root) == []
    assert list((root / "ranges").iterdir()) == []


async def test_it_outlives_the_provisioner(sandboxes: Sandboxes, root: Path) -> None:
    await sandboxes.create_home("home", name="home")
    code = (
        "import asyncio, os, sys; from pathlib import Path\n"
        "from devyard.provisioner.sandbox.runtime import *\n"
        f"spec = SandboxSpec(id='box', home_id='home', init_script={READY + 'exec sleep 300'!r}, env={{}})\n"
        "status = asyncio.run(Sandboxes(Path(sys.argv[1])).start(spec))\n"
        "print(status.pid, flush=True); os.killpg(0, 9)"
    )
    provisioner = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert provisioner.returncode == -signal.SIGKILL
    status = await sandboxes.find("box")
    assert status is not None, provisioner.stderr
    assert status.pid == int(provisioner.stdout)
    assert os.getsid(status.pid) == status.pid
    await sandboxes.stop("box")
    assert traces(root) == []


async def test_a_provisioner_killed_while_starting_leaves_nothing_unknown(
    sandboxes: Sandboxes, root: Path
) -> None:
    await sandboxes.create_home("home", name="home")
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from devyard.provisioner.sandbox.runtime import *\n"
        "spec = SandboxSpec(id=sys.argv[2], home_id='home', init_script='exec sleep 301', env={})\n"
        "print('go', flush=True)\n"
        "asyncio.run(Sandboxes(Path(sys.argv[1])).start(spec))"
    )
    for number in range(6):
        provisioner = subprocess.Popen(
            [sys.executable, "-c", code, str(root), f"box-{number}"],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert provisioner.stdout is not None
        provisioner.stdout.readline()
        await asyncio.sleep(0.01 * number)
        provisioner.kill()
        provisioner.wait()
        provisioner.stdout.close()
    await asyncio.sleep(0.3)
    # The next build takes the home: whatever the killed ones left running is known and ends.
    assert await look(sandboxes, "ps -e -o args | grep -c 'sleep 30[1]'", box="next") == "0\n"
    assert [status.id for status in await sandboxes.list()] == ["next"]
    left = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists() and path.read_bytes() == b"sleep\x00301\x00"
    ]
    assert left == []


async def test_a_sweep_removes_what_ended_and_nothing_else(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true", box="alive")
    await sandboxes.start(spec(f"{READY}exec sleep 300", box="dead", home=None))
    dead = await sandboxes.find("dead")
    assert dead is not None
    os.kill(dead.pid, signal.SIGKILL)
    await wait_until(lambda: start_ticks(dead.pid) is None)
    await sandboxes.sweep()
    assert traces(root, "dead") == []
    assert [status.id for status in await sandboxes.list()] == ["alive"]


async def test_the_log_is_bounded_and_keeps_the_end(sandboxes: Sandboxes, root: Path) -> None:
    await look(sandboxes, "true")
    await sandboxes.stop("box")
    line = "head -c 50000 /dev/zero | tr '\\0' x; echo; i=$((i+1))"
    await sandboxes.start(spec(f"{READY}i=0; while [ $i -lt 40 ]; do {line}; done; echo the-end; exec sleep 300"))
    log = root / "sandboxes" / "box" / "log"
    await wait_until(lambda: log.read_text().endswith("the-end\n"))
    assert 1000 < log.stat().st_size <= 256 * 1024
    assert log.read_text().startswith("[earlier output was dropped]\n")
    assert log.stat().st_uid == 0


@pytest.mark.parametrize("bad", ["../x", "..", "", "a/b", "A", "x" * 65, "-x", "a\n", "ä"])
async def test_ids_that_are_no_names_are_refused(sandboxes: Sandboxes, root: Path, bad: str) -> None:
    for call in (
        lambda: sandboxes.create_home(bad, name="home"),
        lambda: sandboxes.home_path(bad),
        lambda: sandboxes.delete_home(bad),
        lambda: sandboxes.find(bad),
        lambda: sandboxes.stop(bad),
        lambda: sandboxes.start(spec("true", box=bad)),
        lambda: sandboxes.start(spec("true", home=bad)),
    ):
        with pytest.raises(SandboxError, match="not valid"):
            await call()
    assert not root.exists()


async def test_deleting_a_home_follows_no_link_and_any_depth(sandboxes: Sandboxes, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("precious")
    files = await sandboxes.create_home("home", name="home")
    (files / "link").symlink_to(outside)
    (files / "file-link").symlink_to(outside / "file")
    seen = await look(
        sandboxes,
        'python3 -c \'import os\nfor i in range(3000): os.mkdir("d" * 20); os.chdir("d" * 20)\'\n'
        "mkdir ro; touch ro/x; chmod 0 ro; echo ok",
    )
    assert seen == "ok\n"
    await sandboxes.stop("box")
    await sandboxes.delete_home("home")
    assert not files.exists()
    assert (outside / "file").read_text() == "precious"
