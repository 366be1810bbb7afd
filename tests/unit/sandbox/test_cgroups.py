"""Where limits go: machines with cgroup v2, v1, both and none, as directories of files."""

import os
from pathlib import Path

import pytest

from devyard.provisioner.sandbox import cgroups
from devyard.provisioner.sandbox.cgroups import Group, Hierarchy, Limits

LIMITS = Limits(cpus=1.5, memory_mb=100, pids=50)


def write_proc(folder: Path, mounts: list[str], own: list[str]) -> Path:
    (folder / "self").mkdir(parents=True)
    (folder / "self" / "mountinfo").write_text("\n".join(mounts))
    (folder / "self" / "cgroup").write_text("\n".join(own))
    return folder


def make_group(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in {"cgroup.procs": "", **files}.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_v1_controllers_are_found_one_by_one(tmp_path: Path) -> None:
    memory, cpu = make_group(tmp_path / "memory"), make_group(tmp_path / "cpu,cpuacct")
    proc = write_proc(
        tmp_path / "proc",
        [
            f"30 25 0:26 / {memory} rw,nosuid shared:9 - cgroup cgroup rw,memory",
            f"31 25 0:27 / {cpu} rw - cgroup cgroup rw,cpu,cpuacct",
            f"32 25 0:28 / {tmp_path} rw - cgroup cgroup rw,freezer",
            "33 25 0:29 / /proc rw - proc proc rw",
        ],
        ["3:memory:/", "2:cpu,cpuacct:/", "1:freezer:/"],
    )
    places = cgroups.find_hierarchies(proc)
    assert places == [
        Hierarchy(base=str(memory), version=1, controllers=("memory",)),
        Hierarchy(base=str(cpu), version=1, controllers=("cpu",)),
    ]
    groups, missing = cgroups.plan_groups("box", LIMITS, places)
    assert missing == ["pids"]
    assert [(group.dir, group.files) for group in groups] == [
        (f"{memory}/devyard/box", {"memory.limit_in_bytes": "104857600"}),
        (f"{cpu}/devyard/box", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}),
    ]
    assert groups[0].shown_at == "/sys/fs/cgroup/memory"


def test_v2_takes_the_topmost_place_that_hands_controllers_down(tmp_path: Path) -> None:
    top = make_group(tmp_path / "cgroup2", cgroup__subtree_control="")
    # A real kernel fills this in when +cpu is written; the file stands for that.
    make_group(top / "devyard", cgroup__subtree_control="cpu memory pids")
    make_group(top / "system.slice" / "devyard.service")
    proc = write_proc(
        tmp_path / "proc",
        [f"30 25 0:26 / {top} rw,nosuid - cgroup2 cgroup2 rw"],
        ["0::/system.slice/devyard.service"],
    )
    real = cgroups.find_hierarchies(proc)
    assert [place.base for place in real] == [] or real[0].base == str(top)
    place = Hierarchy(base=str(top), version=2, controllers=("pids", "memory", "cpu"))
    (top / "devyard" / "memory.swap.max").write_text("max")
    (group,), missing = cgroups.plan_groups("box", LIMITS, [place])
    assert missing == []
    assert group == Group(
        dir=f"{top}/devyard/box",
        files={
            "pids.max": "50",
            "memory.max": "104857600",
            "memory.swap.max": "0",
            "cpu.max": "150000 100000",
        },
        shown_at="/sys/fs/cgroup",
    )


def test_a_service_is_left_where_its_manager_keeps_account(tmp_path: Path) -> None:
    """In hybrid mode the limits are v1 and systemd's account is elsewhere: there it has to leave, too."""
    memory, systemd = make_group(tmp_path / "memory"), make_group(tmp_path / "systemd")
    unified = make_group(tmp_path / "unified")
    mounts = [
        f"30 25 0:26 / {memory} rw - cgroup cgroup rw,memory",
        f"31 25 0:27 / {systemd} rw - cgroup cgroup rw,xattr,name=systemd",
        f"32 25 0:28 / {unified} rw - cgroup2 cgroup2 rw",
    ]
    service = "/system.slice/devyard.service"
    inside = write_proc(tmp_path / "proc", mounts, ["2:memory:/", f"1:name=systemd:{service}", f"0::{service}"])
    groups, missing = cgroups.plan_groups(
        "box", Limits(cpus=None, memory_mb=100, pids=5), cgroups.find_hierarchies(inside)
    )
    assert [(group.dir, group.shown_at) for group in groups] == [
        (f"{memory}/devyard/box", "/sys/fs/cgroup/memory"),
        (f"{systemd}/devyard/box", ""),
        (f"{unified}/devyard/box", ""),
    ]
    assert missing == ["pids"]
    outside = write_proc(tmp_path / "proc-2", mounts, ["2:memory:/", "1:name=systemd:/", "0::/"])
    assert [place.base for place in cgroups.find_hierarchies(outside)] == [str(memory)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_written_is_passed_over(tmp_path: Path) -> None:
    top = make_group(tmp_path / "memory")
    own = make_group(top / "user")
    top.chmod(0o555)
    try:
        proc = write_proc(
            tmp_path / "proc", [f"30 25 0:26 / {top} rw - cgroup cgroup rw,memory"], ["3:memory:/user"]
        )
        assert [place.base for place in cgroups.find_hierarchies(proc)] == [str(own)]
    finally:
        top.chmod(0o755)


def test_a_machine_without_cgroups_says_what_is_missing(tmp_path: Path) -> None:
    proc = write_proc(tmp_path / "proc", ["33 25 0:29 / /proc rw - proc proc rw"], ["0::/"])
    assert cgroups.find_hierarchies(proc) == []
    assert cgroups.plan_groups("box", LIMITS, []) == ([], ["cpu", "memory", "pids"])
    assert cgroups.plan_groups("box", Limits(cpus=None, memory_mb=None, pids=5), []) == ([], ["pids"])


def test_entering_writes_limits_before_the_process(tmp_path: Path) -> None:
    group = Group(dir=str(tmp_path / "devyard" / "box"), files={"pids.max": "5"}, shown_at="/x")
    assert cgroups.enter_groups(4711, [group]) == []
    assert (tmp_path / "devyard" / "box" / "cgroup.procs").read_text() == "4711"
    assert (tmp_path / "devyard" / "box" / "pids.max").read_text() == "5"
    (tmp_path / "file").touch()
    blocked = Group(dir=str(tmp_path / "file" / "box"), files={}, shown_at="/x")
    (note,) = cgroups.enter_groups(4711, [blocked])
    assert "file" in note


def test_removal_of_what_is_gone_succeeds(tmp_path: Path) -> None:
    assert cgroups.remove_group(str(tmp_path / "none"))
    (tmp_path / "box" / "nested").mkdir(parents=True)
    assert cgroups.remove_group(str(tmp_path / "box"))
    assert not (tmp_path / "box").exists()
