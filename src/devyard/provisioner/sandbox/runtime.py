"""Isolated environments on this machine: what `devyard_sandbox` and `devyard_sandbox_home` stand on.

The provider calls Sandboxes; several provisioner processes share one root directory. Invariant: one home has
at most one sandbox, and what a sandbox had (processes, mounts, cgroup, record) is gone when `stop` returns.
See docs/design/sandbox.md.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import structlog

from devyard.provisioner.provider.sandboxes import SandboxError, SandboxSpec, SandboxStatus

from . import cgroups, layout
from .advice import explain, has_capabilities
from .homes import IDS_PER_HOME, Homes, remove_tree
from .launcher import Launch, run_launcher
from .procfs import boot_id, descendants
from .records import (
    Record,
    exclusive,
    is_running,
    load_record,
    open_process,
    send_signal,
    start_of_record,
    wait_for_exit,
)
from .spec import check_id, check_spec

__all__ = ["SandboxError", "SandboxSpec", "SandboxStatus", "Sandboxes"]

Mode = Literal["root", "user", "none"]
_log = structlog.get_logger(__name__)
_LOG_BYTES = 256 * 1024
_PIDS_MAX = 4096
_DEFAULT_TMP_MB = 2048
_STOP_GRACE_S = 10.0
_KILL_PATIENCE_S = 10.0


class Sandboxes:
    """The sandboxes and homes below `root`, which is made with mode 700.

    `hidden` are paths that no sandbox may see even where they lie inside of what it sees (the data directory
    in a virtual environment's folder, say); `root` itself always is. Isolation `none` is for an administrator
    who chose it: the workspace then is an ordinary process of the provisioner's user.
    """

    def __init__(
        self,
        root: Path,
        *,
        isolation: Literal["namespaces", "none"] = "namespaces",
        hidden: Sequence[Path] = (),
        pids_max: int = _PIDS_MAX,
        stop_grace_s: float = _STOP_GRACE_S,
    ) -> None:
        self._root = root.resolve()
        self._hidden = [str(self._root), *(str(path) for path in hidden)]
        self._pids_max = pids_max
        self._stop_grace_s = stop_grace_s
        self._mode: Mode = "none"
        if isolation == "namespaces":
            self._mode = "root" if os.geteuid() == 0 else "user"
        self._homes = Homes(self._root, has_own_ids=self._mode == "root")
        self._boxes = self._root / "sandboxes"
        self._locks = self._root / "locks"
        self._places: list[cgroups.Hierarchy] | None = None

    async def create_home(self, home_id: str, *, name: str) -> Path:
        """Make a home and return where its files lie; an existing one is returned as it is."""
        check_id(home_id, "The home id")
        async with self._exclusive(f"home-{home_id}"):
            await asyncio.to_thread(self._homes.create, home_id, name)
        return self._homes.path(home_id)

    async def home_path(self, home_id: str) -> Path | None:
        """Return where a home's files lie, None if there is no such home."""
        check_id(home_id, "The home id")
        home = await asyncio.to_thread(self._homes.load, home_id)
        return None if home is None else self._homes.path(home_id)

    async def delete_home(self, home_id: str) -> None:
        """Remove a home for good, stopping a sandbox that still uses it; absence is no error."""
        check_id(home_id, "The home id")
        async with self._exclusive(f"home-{home_id}"):
            await self._stop_users_of(home_id, but="")
            await self._homes.delete(home_id)

    async def start(self, spec: SandboxSpec) -> SandboxStatus:
        """Start a sandbox and return as soon as its agent runs.

        Another sandbox on the same home (what a killed provisioner left behind) is stopped first. Raises
        SandboxError if the spec is not valid, the machine can't isolate, or the init script ends at once (its
        last lines are in the message). An id that runs already is returned as it is: stop it for another spec.
        """
        check_spec(spec)
        if self._mode == "root" and not has_capabilities():
            raise SandboxError(explain("the provisioner lacks the rights of root"))
        async with self._exclusive(f"home-{spec.home_id}" if spec.home_id else f"box-{spec.id}"):
            if spec.home_id is None:
                return await self._start(spec)
            await self._stop_users_of(spec.home_id, but=spec.id)
            async with self._exclusive(f"box-{spec.id}"):
                return await self._start(spec)

    async def find(self, sandbox_id: str) -> SandboxStatus | None:
        """Return a sandbox if it runs, also one that another process started."""
        check_id(sandbox_id, "The sandbox id")
        record = await asyncio.to_thread(load_record, self._boxes / sandbox_id)
        return SandboxStatus(id=record.id, pid=record.pid) if record and is_running(record) else None

    async def list(self) -> list[SandboxStatus]:
        """Return the sandboxes that run, by id."""
        records = await asyncio.to_thread(self._records)
        return [SandboxStatus(id=record.id, pid=record.pid) for record in records if is_running(record)]

    async def stop(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that it had but its home; absence is no error.

        The agent gets SIGTERM and `stop_grace_s` for its shutdown scripts, then everything is killed.
        """
        check_id(sandbox_id, "The sandbox id")
        async with self._exclusive(f"box-{sandbox_id}"):
            await self._remove(sandbox_id, self._stop_grace_s)

    async def check(self) -> str | None:
        """Start and stop a trial sandbox: None if that works, else what is wrong and which switch helps."""
        name = f"check-{secrets.token_hex(6)}"
        script = "devyard_probe() { echo ready >&9; exec 9>&-; exec sleep 30; }; devyard_probe"
        spec = SandboxSpec(
            id=name, home_id=None, init_script=script, env={}, cpus=None, memory_mb=None, hostname="check"
        )
        try:
            await self.start(spec)
        except SandboxError as error:
            text = str(error)
            return text if text.startswith("Isolated workspaces") else explain(text.rstrip("."))
        finally:
            async with self._exclusive(f"box-{name}"):
                await self._remove(name, 0)
        return None

    def _exclusive(self, name: str) -> Any:
        self._homes.make_directories()
        for path in (self._root, self._boxes, self._locks):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return exclusive(self._locks, name)

    def _records(self) -> Sequence[Record]:
        if not self._boxes.is_dir():
            return []
        found = (load_record(path) for path in sorted(self._boxes.iterdir()))
        return [record for record in found if record is not None]

    async def _stop_users_of(self, home_id: str, *, but: str) -> None:
        for record in await asyncio.to_thread(self._records):
            if record.home_id == home_id and record.id != but:
                _log.info("sandbox superseded", sandbox=record.id, home=home_id, by=but or None)
                await self.stop(record.id)

    async def _start(self, spec: SandboxSpec) -> SandboxStatus:
        record = await asyncio.to_thread(load_record, self._boxes / spec.id)
        if record is not None and is_running(record):
            return SandboxStatus(id=record.id, pid=record.pid)
        await self._remove(spec.id, 0)
        uid_base = await self._uid_base(spec)
        groups = await asyncio.to_thread(self._groups, spec)
        plan = await asyncio.to_thread(self._plan, spec, uid_base, groups)
        running = asyncio.ensure_future(asyncio.to_thread(run_launcher, plan, groups))
        try:
            launch = await asyncio.shield(running)
        except asyncio.CancelledError:
            # The thread ends by itself within its own time limit; what it started must not outlive this call.
            await asyncio.wait([running])
            await self._remove(spec.id, 0)
            raise
        return await self._judge(spec, launch)

    async def _judge(self, spec: SandboxSpec, launch: Launch) -> SandboxStatus:
        for note in launch.notes:
            _log.warning("sandbox limit not applied", sandbox=spec.id, reason=note)
        if launch.error is None and launch.pid is not None:
            return SandboxStatus(id=spec.id, pid=launch.pid)
        await self._remove(spec.id, 0)
        raise SandboxError(launch.error or "The sandbox's launcher ended without a word.")

    async def _uid_base(self, spec: SandboxSpec) -> int | None:
        if spec.home_id is None:
            return self._homes.take_range(spec.id) if self._mode == "root" else None
        home = await asyncio.to_thread(self._homes.load, spec.home_id)
        if home is None:
            raise SandboxError(f"There is no home {spec.home_id} on this machine: create it first.")
        if self._mode == "root" and home.uid_base is None:
            home = await self._homes.adopt(home)
        return home.uid_base

    def _plan(self, spec: SandboxSpec, uid_base: int | None, groups: Sequence[cgroups.Group]) -> dict[str, Any]:
        """Return everything that the launcher has to know, as plain values; makes the record's directory."""
        box = self._boxes / spec.id
        (box / "rootfs").mkdir(mode=0o700, parents=True, exist_ok=True)
        is_bare = self._mode == "none"
        source = str(self._homes.path(spec.home_id)) if spec.home_id else None
        if is_bare and source is None:
            source = str(box / "home")
            Path(source).mkdir(mode=0o700)
        target = source if is_bare else layout.HOME
        # As whoever mounts sees them: in the user namespace already, or still on the host.
        owner = layout.INNER_ID if uid_base is None else uid_base + layout.INNER_ID
        shim_dir = str(box / "bin") if is_bare else layout.SHIM_DIR
        plan: dict[str, Any] = {
            "mode": self._mode,
            "rootfs": str(box / "rootfs"),
            "log_path": str(box / "log"),
            "log_bytes": _LOG_BYTES,
            "record_path": str(box / "record.json"),
            "record": start_of_record(
                {
                    "id": spec.id,
                    "home_id": spec.home_id,
                    "mode": self._mode,
                    "uid_base": uid_base,
                    "boot_id": boot_id(),
                    "groups": [group.dir for group in groups],
                }
            ),
            "pids_max": self._pids_max,
            "caller_uid": os.geteuid(),
            "caller_gid": os.getegid(),
            "uid_base": uid_base,
            "uid_count": IDS_PER_HOME,
            "inner_id": layout.INNER_ID,
            "owner_uid": owner,
            "owner_gid": owner,
            "hostname": spec.hostname or layout.HOSTNAME,
            "script": spec.init_script,
            "home": {"source": source, "target": target},
            "programs": {f"{shim_dir}/{name}": layout.shim() for name in ("devyard", "coder")},
            "env": layout.environment(
                spec.env,
                home=str(target),
                user=layout.current_user() if is_bare else layout.USER,
                shim_dir=shim_dir,
            ),
        }
        return plan if is_bare else {**plan, **self._tree(spec, uid_base, groups)}

    def _tree(self, spec: SandboxSpec, uid_base: int | None, groups: Sequence[cgroups.Group]) -> dict[str, Any]:
        """Return the part of the plan that says what the sandbox sees."""
        binds, links = layout.system_paths()
        binds = [*binds, *layout.python_paths()]
        resolver = layout.resolver_file()
        if resolver is not None:
            binds.append(resolver)
        masks = layout.hidden_paths(self._hidden, [*binds, "/etc"])
        if uid_base is None:
            masks += layout.private_paths("/etc") + layout.private_paths("/opt", depth=1)
        shown = [(group.dir, group.shown_at) for group in groups]
        if Path("/sys/devices/system/cpu").is_dir():
            shown.append(("/sys/devices/system/cpu",) * 2)
        return {
            "binds": binds,
            "links": links,
            "masks": [f"/.{path[1:]}" if layout.is_inside(path, "/etc") else path for path in masks],
            "shown": shown,
            "etc": layout.etc_files(spec.hostname or layout.HOSTNAME, layout.login_shell(spec.env)),
            "tmp_mb": spec.memory_mb or _DEFAULT_TMP_MB,
            "tty_gid": None if uid_base is None else uid_base + 5,
        }

    def _groups(self, spec: SandboxSpec) -> Sequence[cgroups.Group]:
        if self._places is None:
            self._places = cgroups.find_hierarchies()
        limits = cgroups.Limits(cpus=spec.cpus, memory_mb=spec.memory_mb, pids=self._pids_max)
        groups, missing = cgroups.plan_groups(spec.id, limits, self._places)
        if missing:
            _log.warning(
                "sandbox limits not enforced here",
                sandbox=spec.id,
                limits=missing,
                reason="no writable cgroup",
            )
        return groups

    async def _remove(self, sandbox_id: str, grace_s: float) -> None:
        """End what runs of a sandbox and remove its traces; the caller holds its lock."""
        box = self._boxes / sandbox_id
        record = await asyncio.to_thread(load_record, box)
        if record is not None:
            await self._end(record, grace_s)
            for directory in record.groups:
                if not await asyncio.to_thread(cgroups.remove_group, directory):
                    raise SandboxError(f"The kernel does not let go of {directory}: stop the sandbox again.")
            if record.home_id is None and record.uid_base is not None:
                self._homes.free_range(record.uid_base)
        if box.exists():
            await remove_tree(box)

    async def _end(self, record: Record, grace_s: float) -> None:
        pidfd = open_process(record)
        if pidfd is None:
            return
        try:
            if grace_s > 0:
                send_signal(pidfd, signal.SIGTERM)
                if await wait_for_exit(pidfd, grace_s):
                    return
            if record.mode == "none":
                for pid in descendants(record.pid):
                    os.kill(pid, signal.SIGKILL)
            send_signal(pidfd, signal.SIGKILL)
            if not await wait_for_exit(pidfd, _KILL_PATIENCE_S):
                raise SandboxError(
                    f"Sandbox {record.id} (pid {record.pid}) can't be killed: it hangs in the kernel."
                )
        finally:
            os.close(pidfd)
            _reap(record.pid)


def _reap(pid: int) -> None:
    """Collect the process where it became this one's child (a provisioner that is pid 1 of a container)."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
