"""What a workspace sees and may do: as host root, the strictest of the cases."""

import asyncio
import os
from pathlib import Path

import pytest

from devyard.provisioner.sandbox.runtime import Sandboxes
from tests.e2e.sandbox.conftest import clean_up, look

pytestmark = pytest.mark.root


async def test_this_machine_can_isolate(sandboxes: Sandboxes) -> None:
    assert await sandboxes.check() is None
    assert await sandboxes.list() == []


async def test_the_user_is_dev_without_rights(sandboxes: Sandboxes, root: Path) -> None:
    seen = await look(
        sandboxes,
        "whoami; id -u; id -g; id -G; hostname; echo $HOME; pwd; grep -E '^(Cap|NoNew)' /proc/self/status",
    )
    lines = seen.split("\n")
    assert lines[:7] == ["dev", "1000", "1000", "1000", "ws", "/home/dev", "/home/dev"]
    capabilities = dict(line.split(":\t") for line in lines[7:-1])
    assert capabilities.pop("NoNewPrivs") == "1"
    assert set(capabilities.values()) == {"0" * 16}
    owner = (root / "homes" / "home" / "files").stat().st_uid
    assert owner > 2_000_000_000, "the home belongs to an id of its own on the host"


async def test_the_workspace_is_not_root_on_the_host(sandboxes: Sandboxes) -> None:
    await look(sandboxes, "true")
    (status,) = await sandboxes.list()
    for process in Path(f"/proc/{status.pid}/task/{status.pid}/children").read_text().split():
        uids = next(
            line.split()[1:]
            for line in Path(f"/proc/{process}/status").read_text().splitlines()
            if line.startswith("Uid:")
        )
        assert len(set(uids)) == 1
        assert int(uids[0]) > 2_000_000_000


async def test_only_the_allow_list_is_visible(sandboxes: Sandboxes, root: Path) -> None:
    seen = await look(
        sandboxes,
        f"""
        ls -d {root} {root}/homes /var/lib/docker /var/lib/dpkg /run/docker.sock /var/run/docker.sock /boot /srv
        echo var-lib: $(ls -A /var/lib)
        echo run: $(ls -A /run)
        echo home: $(ls -A /home)
        echo top: $(ls -A /)
        cat /etc/shadow /.etc/shadow
        """,
    )
    assert str(root) in seen
    assert seen.count("No such file or directory") == 8 + 1
    assert "Permission denied" in seen
    assert "root:" not in seen
    lines = dict(
        line.split(":", 1) for line in seen.splitlines() if line.startswith(("var-lib", "run", "home", "top"))
    )
    assert lines["var-lib"].strip() == ""
    assert lines["run"].split() == ["devyard", "user"]
    assert lines["home"].split() == ["dev"]
    assert not {"boot", "srv", "old_root", "farm"} & set(lines["top"].split())


async def test_the_system_is_read_only_and_its_own_places_are_not(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        """
        for place in / /usr /usr/local/bin /etc /.etc /opt /run /dev /var /var/lib /home /sys \\
            /proc/sys/kernel/hostname
        do
            if touch $place/probe 2>/dev/null || echo x 2>/dev/null >$place; then echo "writable $place"; fi
        done
        for place in /tmp /var/tmp /dev/shm /home/dev /run/user/1000; do
            touch $place/probe && echo "ok $place"
        done
        """,
    )
    assert "writable" not in seen
    assert seen.count("ok ") == 5


async def test_a_nested_user_namespace_opens_nothing(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        """
        unshare -Urm sh -c 'id -u; mount -o remount,bind,rw /usr && echo remounted; umount /usr && echo unmounted
            touch /usr/probe && echo written; cat /.etc/shadow && echo read'
        """,
    )
    assert "0\n" in seen
    for word in ("remounted\n", "unmounted\n", "written\n", "read\n"):
        assert word not in seen


async def test_its_first_process_is_out_of_reach(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        "kill -9 1 && echo killed; cat /proc/1/environ && echo environ; cat /proc/1/maps && echo maps\n"
        "ls /proc/1/fd/ && echo descriptors; ls /proc/1/root/ && echo root",
        env={"CODER_AGENT_TOKEN": "t0ken"},
    )
    assert "killed" not in seen
    assert "environ\n" not in seen
    assert "maps\n" not in seen
    assert "descriptors\n" not in seen
    assert "root\n" not in seen
    assert "t0ken" not in seen


async def test_the_environment_is_clean(sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVYARD_POSTGRES_URL", "postgres://secret")
    seen = await look(sandboxes, "env", env={"EXTRA": "a b=c", "SHELL": "/bin/sh"})
    names = {line.split("=", 1)[0] for line in seen.splitlines()}
    assert names - {"PWD", "SHLVL", "OLDPWD", "_"} == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "EXTRA", "DEVYARD_SANDBOX_STARTING"),
    }
    assert "EXTRA=a b=c\n" in seen
    assert "SHELL=/bin/sh\n" in seen
    assert "secret" not in seen


async def test_programs_that_are_particular_work(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        """
        set -e
        git init -q repo && cd repo && git config user.email a@b && git config user.name a
        git commit -q --allow-empty -m x && echo git-ok
        ssh -G example.com >/dev/null && echo ssh-ok
        ssh-keygen -q -t ed25519 -N '' -f ~/key && echo keygen-ok
        python3 -c 'import ssl; ssl.create_default_context()' && echo python-ok
        python3 -c 'import pty; pty.spawn(["tty"])' | grep -q /dev/pts && echo pty-ok
        bash -lc 'command -v devyard coder' && echo shim-ok
        getent passwd dev && getent hosts ws && echo names-ok
        echo x >/dev/null && head -c 1 /dev/urandom >/dev/null && echo </dev/fd/0 && echo dev-ok
        """,
    )
    for word in ("git", "ssh", "keygen", "python", "pty", "shim", "names", "dev"):
        assert f"{word}-ok" in seen, seen


async def test_two_sandboxes_do_not_see_each_other(sandboxes: Sandboxes) -> None:
    probe = """
        echo mine >/tmp/$WHO; echo mine >/dev/shm/$WHO; echo mine >$HOME/$WHO
        sleep 299 &
        while [ ! -e ~/go ]; do sleep 0.02; done
        ls /tmp /dev/shm $HOME; ps -e -o args; ipcs -q | wc -l
    """
    homes = [await sandboxes.create_home(name, name=name) for name in ("ann", "bob")]

    async def both_ready() -> None:
        while not all((home / name).exists() for home, name in zip(homes, ("ann", "bob"), strict=True)):
            await asyncio.sleep(0.01)
        for home in homes:
            (home / "go").touch()

    ann, bob, _none = await asyncio.gather(
        look(sandboxes, probe, box="box-ann", home="ann", env={"WHO": "ann"}),
        look(sandboxes, probe, box="box-bob", home="bob", env={"WHO": "bob"}),
        asyncio.wait_for(both_ready(), 20),
    )
    assert "bob" not in ann
    assert "ann" not in bob
    assert ann.splitlines().count("sleep 299") == bob.splitlines().count("sleep 299") == 1
    owners = {home.stat().st_uid for home in homes}
    assert len(owners) == 2


async def test_orphans_are_reaped(sandboxes: Sandboxes) -> None:
    seen = await look(
        sandboxes,
        "for i in 1 2 3 4 5; do sh -c 'sleep 0.05 & exit'; done; sleep 0.4; ps -e -o stat,args | grep -c ^Z; true",
    )
    assert seen.strip() == "0"


async def test_a_data_directory_inside_of_what_is_shown_stays_hidden(tmp_path: Path) -> None:
    root = Path("/opt") / f"devyard-test-{os.getpid()}"
    secret = root / "server.secret"
    runtime = Sandboxes(root / "sandboxes", hidden=[root], stop_grace_s=3)
    try:
        root.mkdir(mode=0o755)
        secret.write_text("hidden-secret")
        seen = await look(runtime, f"ls -A {root}; cat {secret}; ls /opt")
        assert "hidden-secret" not in seen
        assert "server.secret\n" not in seen.replace(f"cat: {secret}", "")
        assert root.name in seen
    finally:
        await clean_up(runtime, root / "sandboxes")
        for path in sorted(root.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        root.rmdir()
