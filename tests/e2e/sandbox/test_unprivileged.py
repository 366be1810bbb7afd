"""The same on a machine where the provisioner is not root: a user namespace mapped to its own user.

As root the story is run by a spare user id in a mount namespace of its own, in which that user can reach the
running Python even where it lies below root's home.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import devyard
from devyard.provisioner.sandbox.advice import has_capabilities
from devyard.provisioner.sandbox.procfs import start_ticks
from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.sandbox.conftest import clean_up, look

SPARE_ID = 64_321

# Shows /root as an empty directory with only the way to Python in it.
OPEN_THE_WAY = """
set -e
case "$1" in
/root/*)
    way=/root/$(echo "${1#/root/}" | cut -d/ -f1)
    mount --bind "$way" "$3"
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir "$way"
    mount --bind "$3" "$way"
    ;;
esac
id=$2
shift 3
exec setpriv --reuid "$id" --regid "$id" --clear-groups "$@"
"""


async def story(root: Path) -> dict[str, object]:
    """What an unprivileged provisioner does, told as facts."""
    runtime = Sandboxes(root, stop_grace_s=2)
    facts: dict[str, object] = {"uid": os.geteuid(), "check": await runtime.check()}
    if facts["check"] is not None:
        return facts
    (root / "secret").write_text("server's secret")
    try:
        facts["seen"] = await look(
            runtime,
            f"whoami; id -u; hostname; cat {root}/secret; ls {root}; ls -A /var/lib /home; cat /.etc/shadow\n"
            "touch /probe /usr/probe /etc/probe /run/probe /sys/probe /dev/probe\n"
            "touch /tmp/x /var/tmp/x ~/x && echo ok\n"
            "grep -E '^(Cap|NoNew)' /proc/self/status; ps -e -o args; cat /proc/1/environ /proc/1/maps\n"
            "unshare -Urm mount -o remount,bind,rw /usr && echo remounted\n"
            "mkdir -p cache/ro && touch cache/ro/x && chmod -R a-w cache && mkdir closed && chmod 0 closed\n"
            "git init -q repo && ssh -G example.com >/dev/null && echo tools; bash -lc 'command -v devyard'",
        )
        (status,) = await runtime.list()
        facts["files"] = str(await runtime.home_path("home"))
        await runtime.stop("box")
        facts["after stop"] = [status.id for status in await runtime.list()]
        facts["process started at"] = start_ticks(status.pid)
        await runtime.delete_home("home")
        facts["left"] = [str(path) for path in root.rglob("*") if path.is_file()]
    finally:
        await clean_up(runtime, root)
    return facts


def tell(root: Path) -> dict[str, object]:
    """The story as another user, or as this one where it is not root."""
    if os.geteuid() != 0:
        return asyncio.run(story(root))
    root.mkdir()
    os.chown(root, SPARE_ID, SPARE_ID)
    aside = root.parent / "aside"
    aside.mkdir()
    code = (
        "import asyncio, json, sys; from pathlib import Path\n"
        "from tests.e2e.sandbox.test_unprivileged import story\n"
        "print(json.dumps(asyncio.run(story(Path(sys.argv[1])))))"
    )
    source = Path(devyard.__file__).parents[1]
    tests = Path(__file__).parents[3]
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", OPEN_THE_WAY, "sh", sys.base_prefix, str(SPARE_ID), str(aside)),
            *(sys.executable, "-B", "-c", code, str(root)),
        ],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": f"{source}:{tests}"},
        capture_output=True,
        text=True,
        timeout=120,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_kernel_that_refuses_is_explained_with_its_switch(root: Path) -> None:
    """In a user namespace of its own the switch can really be turned off."""
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from devyard.provisioner.sandbox.runtime import Sandboxes\n"
        "print(asyncio.run(Sandboxes(Path(sys.argv[1])).check()))"
    )
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, code, str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(devyard.__file__).parents[1])},
    )
    if "Permission denied" in done.stderr or "unshare failed" in done.stderr:
        pytest.skip(done.stderr)
    assert "can't be started on this machine: unshare of user and pid namespace" in done.stdout, done.stderr
    assert "sysctl -w user.max_user_namespaces=28633" in done.stdout
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_an_unprivileged_provisioner_isolates_too(root: Path) -> None:
    if os.geteuid() == 0 and not has_capabilities():
        pytest.skip("root without the right to become another user")
    facts = tell(root)
    if facts["check"] is not None and os.environ.get("CI") != "true":
        pytest.skip(str(facts["check"]))
    assert facts["check"] is None
    assert facts["uid"] != 0
    seen = str(facts["seen"])
    assert seen.startswith("dev\n1000\nws\n")
    assert "server's secret" not in seen
    assert f"cannot access '{root}'" in seen or "homes" not in seen
    assert "root:" not in seen
    assert seen.count("Read-only file system") == 6
    assert "ok\n" in seen
    assert seen.count("\t0000000000000000\n") == 5
    assert "NoNewPrivs:\t1\n" in seen
    assert seen.count("cat: /proc/1/") == 2, "its first process can't be read"
    assert "remounted\n" not in seen
    assert "tools\n" in seen
    assert "/run/devyard/bin/devyard\n" in seen
    assert str(facts["files"]).startswith(str(root))
    assert facts["after stop"] == []
    assert facts["process started at"] is None
    assert facts["left"] == [str(root / "secret")]
