"""Isolated environments on this machine: what `devyard_sandbox` and `devyard_sandbox_home` stand on.

The provider calls Sandboxes; several provisioner processes share one root directory. Invariant: one home has
at most one sandbox, and what a sandbox had (processes, mounts, cgroup, record) is gone when `stop` returns.
See docs/design/sandbox.md.
"""

import asyncio
import hashlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import structlog

from devyard.provisioner.provider.sandboxes import SandboxError, SandboxSpec, SandboxStatus

from . import cgroups
from .advice import explain, has_capabilities
from .homes import FIRST_ID, IDS_PER_HOME, RANGES, Home, Homes, remove_tree
from .launcher import run_launcher
from .plan import Mode, Place, build_plan
from .procfs import descendants, owns_ids
from .records import (
    Record,
    exclusive,
    is_running,
    load_record,
    open_process,
    send_signal,
    wait_for_exit,
)
from .spec import check_id, check_spec

__all__ = ["SandboxError", "SandboxSpec", "SandboxStatus", "Sandboxes"]

_log = structlog.get_logger(__name__)
_PIDS_MAX = 4096
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
        # Groups of another installation on the same machine must not be taken for our own.
        self._tag = hashlib.sha256(os.fsencode(self._root)).hexdigest()[:12]
        self._hidden = [str(self._root), *(str(path) for path in hidden)]
        self._pids_max = pids_max
        self._stop_grace_s = stop_grace_s
        self._mode: Mode = "none"
        if isolation == "namespaces":
            self._mode = "root" if os.geteuid() == 0 and owns_ids(FIRST_ID, RANGES * IDS_PER_HOME) else "user"
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

    async def sweep(self) -> None:
        """Remove what is left of sandboxes that ended by themselves or by a reboot; for a provisioner's start."""
        for record in await asyncio.to_thread(self._records):
            async with self._exclusive(f"box-{record.id}"):
                fresh = await asyncio.to_thread(load_record, self._boxes / record.id)
                if fresh is not None and not is_running(fresh):
                    await self._remove(record.id, 0)

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

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[None]:
        """Hold a lock; what the system refuses in the meantime becomes an error for a person."""
        try:
            for path in (self._root, self._boxes, self._locks):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._homes.make_directories()
            async with exclusive(self._locks, name):
                yield
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise SandboxError(f"The machine refuses: {error.strerror or error}{where}.") from error

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
        """Start under the caller's locks; when it is cancelled, what it began is undone first."""
        record = await asyncio.to_thread(load_record, self._boxes / spec.id)
        if record is not None and is_running(record):
            return SandboxStatus(id=record.id, pid=record.pid)
        launching = asyncio.ensure_future(self._launch(spec))
        try:
            return await asyncio.shield(launching)
        except asyncio.CancelledError:
            await asyncio.wait([launching])
            await self._remove(spec.id, 0)
            raise

    async def _launch(self, spec: SandboxSpec) -> SandboxStatus:
        await self._remove(spec.id, 0)
        home = None if spec.home_id is None else await self._load_home(spec.home_id)
        uid_base = home.uid_base if home else None
        if home is None and self._mode == "root":
            uid_base = self._homes.take_range(spec.id)
        place = Place(
            mode=self._mode,
            box=self._boxes / spec.id,
            home=self._homes.path(home.id) if home else None,
            uid_base=uid_base,
            groups=await asyncio.to_thread(self._groups, spec),
            pids_max=self._pids_max,
            hidden=self._hidden,
        )
        plan = await asyncio.to_thread(build_plan, spec, place)
        launch = await asyncio.to_thread(run_launcher, plan, place.groups)
        if launch.notes:
            _log.warning("sandbox limits not applied", sandbox=spec.id, reasons=launch.notes)
        if launch.error is not None or launch.pid is None:
            await self._remove(spec.id, 0)
            raise SandboxError(launch.error or "The sandbox's launcher ended without a word.")
        return SandboxStatus(id=spec.id, pid=launch.pid)

    async def _load_home(self, home_id: str) -> Home:
        home = await asyncio.to_thread(self._homes.load, home_id)
        if home is None:
            raise SandboxError(f"There is no home {home_id} on this machine: create it first.")
        if self._mode == "root" and home.uid_base is None:
            return await self._homes.adopt(home)
        return home

    def _groups(self, spec: SandboxSpec) -> Sequence[cgroups.Group]:
        if self._places is None:
            self._places = cgroups.find_hierarchies()
        limits = cgroups.Limits(cpus=spec.cpus, memory_mb=spec.memory_mb, pids=self._pids_max)
        groups, missing = cgroups.plan_groups(f"{self._tag}-{spec.id}", limits, self._places)
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
