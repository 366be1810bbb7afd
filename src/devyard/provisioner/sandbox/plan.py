"""Puts together what the launcher has to know, and the directory that a sandbox's traces lie in.

Called by runtime.py under the sandbox's lock. Invariant: whatever a sandbox takes (ids, cgroups) stands in a
record on disk before it is taken, so that a removal after any crash finds it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from devyard.provisioner.provider.sandboxes import SandboxSpec

from . import layout
from .cgroups import Group
from .homes import IDS_PER_HOME
from .procfs import boot_id
from .records import start_of_record

Mode = Literal["root", "user", "none"]
_LOG_BYTES = 256 * 1024
# What the sizes of /dev/shm and /run/user are taken from where the memory has no limit.
_DEFAULT_MEMORY_MB = 4096
# On disk, in the record's directory, not in memory: a full /tmp must not cost a workspace its agent.
_DISK = {"tmp": "/tmp", "var-tmp": "/var/tmp"}  # noqa: S108


class Place(msgspec.Struct, frozen=True):
    """What the runtime chose for one sandbox: `home` None is one that ends with it, in `box`."""

    mode: Mode
    box: Path
    home: Path | None
    uid_base: int | None
    groups: Sequence[Group]
    pids_max: int
    hidden: Sequence[str]

    @property
    def home_source(self) -> Path:
        return self.home or self.box / "home"

    @property
    def shim_dir(self) -> str:
        return str(self.box / "bin") if self.mode == "none" else layout.SHIM_DIR


def build_plan(spec: SandboxSpec, place: Place) -> dict[str, Any]:
    """Make the sandbox's directory with its first record, and return the plan as plain values."""
    record = _record(spec, place)
    programs = {f"{place.shim_dir}/{name}": layout.shim() for name in ("devyard", "coder")}
    _make_box(place, record, programs)
    hostname = spec.hostname or layout.HOSTNAME
    home = str(place.home_source) if place.mode == "none" else layout.home_path()
    user = layout.current_user() if place.mode == "none" else layout.USER
    # As whoever mounts sees them: in the user namespace already, or still on the host.
    owner = layout.INNER_ID if place.uid_base is None else place.uid_base + layout.INNER_ID
    plan = {
        "mode": place.mode,
        "rootfs": str(place.box / "rootfs"),
        "log_path": str(place.box / "log"),
        "log_bytes": _LOG_BYTES,
        "record_path": str(place.box / "record.json"),
        "record": record,
        "pids_max": place.pids_max,
        "caller_uid": os.geteuid(),
        "caller_gid": os.getegid(),
        "uid_base": place.uid_base,
        "uid_count": IDS_PER_HOME,
        "inner_id": layout.INNER_ID,
        "owner_uid": owner,
        "owner_gid": owner,
        "hostname": hostname,
        "script": spec.init_script,
        "home": home,
        "programs": programs,
        "env": layout.environment(spec.env, home=home, user=user, shim_dir=place.shim_dir),
    }
    return plan if place.mode == "none" else {**plan, **_tree(spec, place, hostname, home)}


def _record(spec: SandboxSpec, place: Place) -> str:
    return start_of_record(
        {
            "id": spec.id,
            "home_id": spec.home_id,
            "mode": place.mode,
            "uid_base": place.uid_base,
            "boot_id": boot_id(),
            "groups": [group.dir for group in place.groups],
        }
    )


def _make_box(place: Place, record: str, programs: dict[str, str]) -> None:
    (place.box / "rootfs").mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.box / "record.json").write_text(f'{record},"pid":0,"start_ticks":0}}', encoding="utf-8")
    for name in _DISK:
        (place.box / name).mkdir()
        (place.box / name).chmod(0o1777)
    if place.home is None:
        place.home_source.mkdir(mode=0o700)
        if place.uid_base is not None:
            owner = place.uid_base + layout.INNER_ID
            os.chown(place.home_source, owner, owner)
    if place.mode == "none":
        for path, text in programs.items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
            Path(path).chmod(0o755)


def _tree(spec: SandboxSpec, place: Place, hostname: str, home: str) -> dict[str, Any]:
    """Return the part of the plan that says what the sandbox sees."""
    binds, links = layout.system_paths()
    binds = [*binds, *layout.python_paths()]
    resolver = layout.resolver_file()
    if resolver is not None:
        binds.append(resolver)
    masks = layout.hidden_paths(place.hidden, [*binds, "/etc"])
    if place.uid_base is None:
        masks += layout.private_paths("/etc") + layout.private_paths("/opt", depth=1)
    shown = [(group.dir, group.shown_at) for group in place.groups if group.shown_at]
    if Path("/sys/devices/system/cpu").is_dir():
        shown.append(("/sys/devices/system/cpu",) * 2)
    memory_mb = spec.memory_mb or _DEFAULT_MEMORY_MB
    return {
        "binds": binds,
        "links": links,
        "masks": [f"/.{path[1:]}" if layout.is_inside(path, "/etc") else path for path in masks],
        "shown": shown,
        "writable": [
            (str(place.home_source), home),
            *((str(place.box / name), path) for name, path in _DISK.items()),
        ],
        "etc": layout.etc_files(hostname, home=home, shell=layout.login_shell(spec.env)),
        "shm_mb": memory_mb // 4,
        "run_mb": max(1, memory_mb // 32),
        "tty_gid": None if place.uid_base is None else place.uid_base + 5,
    }
