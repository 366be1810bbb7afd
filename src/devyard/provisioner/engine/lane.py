"""A lane: one worker and the provider that its Terraform is attached to; runs one command after the other.

`Lanes` keeps a few warm. A lane whose Terraform was interrupted, killed or lost is never used again: it may have
Go routines left from the old run. docs/design/terraform.md has the reasons and figures.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from devyard.provisioner.engine.fence import Fence, is_terraform
from devyard.provisioner.engine.process import MAX_LINE_BYTES, MAX_OUTPUT_BYTES, Worker, WorkerLost
from devyard.provisioner.engine.stopping import Stop, Stopped
from devyard.provisioner.provider.server import ProviderServer

OnLine = Callable[[bytes], None]


class CommandFailed(Exception):
    """A command whose output was wanted ended with an error; the text is its standard error."""


class Lane:
    """A worker and its `provider`. `key` names what the worker may have in memory: third-party schemas."""

    def __init__(self, worker: Worker, provider: ProviderServer) -> None:
        self.provider = provider
        self.key: str | None = None
        self.uses = 0
        self.is_spoiled = False
        self.leaves_programs = False
        """The job is a build that succeeded: programs that its scripts started in the background belong to it."""
        self._worker = worker

    @property
    def is_alive(self) -> bool:
        """It can take another command."""
        return self._worker.is_alive and not self.is_spoiled

    @property
    def pid(self) -> int:
        """The worker's process id, which is its process group's too."""
        return self._worker.pid

    @property
    def fence(self) -> Fence:
        """The bounds of the worker and of all that it starts."""
        return self._worker.fence

    def kill_scripts(self) -> None:
        """Ends what templates have started; Terraform and its plugins go on. Blocks."""
        self.fence.kill(lambda pid: is_terraform(pid, self._worker.executable))

    async def clean(self) -> None:
        """A job is over: nothing that it started lives on, but what a successful build has left on purpose."""
        if self.is_spoiled:
            self._worker.kill()
        elif self.leaves_programs:
            executable = self._worker.executable
            left = await asyncio.to_thread(self.fence.release, lambda pid: is_terraform(pid, executable))
            self._worker.let_go(left)
        self.leaves_programs = False
        await asyncio.to_thread(self.fence.kill)

    async def wait_loaded(self) -> None:
        """Returns once Terraform is loaded. Raises WorkerLost."""
        await self._worker.wait_loaded()

    async def run(self, cwd: Path, argv: Sequence[str], on_line: OnLine, on_error_line: OnLine, stop: Stop) -> int:
        """Runs `terraform argv` in `cwd` and returns its exit code, also after an interrupt.

        Raises WorkerLost when it crashed, Stopped when it had to be killed.
        """
        return await self._run(cwd, argv, on_line, on_error_line, stop, MAX_LINE_BYTES)

    async def read(self, cwd: Path, argv: Sequence[str], stop: Stop) -> bytes:
        """Runs a command for its output. Raises CommandFailed, WorkerLost, Stopped."""
        lines: list[bytes] = []
        errors: list[bytes] = []
        code = await self._run(cwd, argv, lines.append, errors.append, stop, MAX_OUTPUT_BYTES)
        if stop.is_requested:
            raise Stopped
        if code != 0:
            raise CommandFailed(b"\n".join(errors or lines).decode("utf-8", "replace").strip())
        return b"\n".join(lines)

    async def close(self) -> None:
        """Kills the worker and ends the provider."""
        await self._worker.close()
        await self.provider.close()

    async def _run(
        self,
        cwd: Path,
        argv: Sequence[str],
        on_line: OnLine,
        on_error_line: OnLine,
        stop: Stop,
        max_line_bytes: int,
    ) -> int:
        if stop.is_requested:
            raise Stopped
        escalation = asyncio.create_task(self._escalate(stop), name="stop terraform")
        try:
            words = [f"-chdir={cwd}", *argv]
            return await self._worker.run(words, on_line, on_error_line, max_line_bytes)
        except WorkerLost:
            if stop.is_requested:
                raise Stopped from None
            raise
        except BaseException:
            self._spoil_and_kill()
            raise
        finally:
            escalation.cancel()

    def _spoil_and_kill(self) -> None:
        self.is_spoiled = True
        self._worker.kill()

    async def _escalate(self, stop: Stop) -> None:
        await stop.wait_requested()
        self.is_spoiled = True
        self._worker.interrupt()
        await stop.wait_forced(stop.grace_s)
        self._worker.interrupt()
        # The second interrupt gives up what is in flight and still saves the state.
        await asyncio.sleep(stop.last_s)
        self._worker.kill()


MakeLane = Callable[[], Awaitable[Lane]]


async def start_lane(make: MakeLane) -> Lane:
    """A lane whose Terraform is loaded. Raises WorkerLost."""
    lane = await make()
    try:
        await lane.wait_loaded()
    except BaseException:
        await lane.close()
        raise
    return lane


class Lanes:
    """Warm lanes: one bound to what the last job used, and one that is fresh where that helps; never more."""

    def __init__(self, make: MakeLane, max_uses: int = 25, idle_s: float = 600) -> None:
        self._make = make
        self._max_uses = max_uses
        self._idle_s = idle_s
        self._bound: Lane | None = None
        self._fresh: asyncio.Task[Lane] | None = None
        self._retiring: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def take(self, key: str) -> Lane:
        """A lane for `key`; the caller returns it. Raises WorkerLost when Terraform can't be started."""
        if self._retiring:
            self._retiring.cancel()
        lane, self._bound = self._bound, None
        if lane and not (lane.is_alive and lane.key == key):
            self._discard(lane)
            lane = None
        if lane is None:
            lane = await self._take_fresh()
        lane.key = key
        lane.uses += 1
        return lane

    def give_back(self, lane: Lane) -> None:
        """Keeps the lane for the next job, or discards it, and sees to it that the next job finds one.

        Where jobs use third-party providers, that is a fresh one too: the next may use others.
        """
        if self._is_closed or not lane.is_alive or lane.uses >= self._max_uses:
            self._discard(lane)
            self.prepare()
            return
        self._bound = lane
        if lane.key:
            self._retiring = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
            self.prepare()

    def prepare(self) -> None:
        """Starts a fresh lane in the background unless there is one."""
        if self._fresh is None and not self._is_closed:
            self._fresh = asyncio.create_task(start_lane(self._make), name="fresh lane")

    def renew(self) -> None:
        """Discards the idle lanes: what their workers were started with counts no more."""
        if self._retiring:
            self._retiring.cancel()
        self._retire()
        fresh, self._fresh = self._fresh, None
        if fresh:
            task = asyncio.create_task(_close_started(fresh), name="close lane")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends all idle lanes."""
        self._is_closed = True
        if self._retiring:
            self._retiring.cancel()
        if self._bound:
            self._discard(self._bound)
            self._bound = None
        if self._fresh:
            try:
                self._discard(await self._fresh)
            except WorkerLost:
                pass
        await asyncio.gather(*self._closing)

    async def _take_fresh(self) -> Lane:
        while self._fresh:
            task, self._fresh = self._fresh, None
            try:
                lane = await task
            except WorkerLost:
                break
            if lane.is_alive:
                return lane
            self._discard(lane)
        return await start_lane(self._make)

    def _retire(self) -> None:
        if self._bound:
            self._discard(self._bound)
            self._bound = None

    def _discard(self, lane: Lane) -> None:
        task = asyncio.create_task(lane.close(), name="close lane")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _close_started(starting: asyncio.Task[Lane]) -> None:
    try:
        lane = await starting
    except WorkerLost:
        return
    await lane.close()
