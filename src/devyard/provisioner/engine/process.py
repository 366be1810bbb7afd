"""A worker process and its control socket: runs one Terraform command at a time and streams its output.

Lanes own workers. Invariant: when the worker ends, by whatever way, the command that ran raises WorkerLost and
nothing of its process group is left.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devyard.provisioner.engine.backend import Backend
from devyard.provisioner.engine.fence import Fence, mark
from devyard.provisioner.engine.pipes import LineReader

MAX_LINE_BYTES = 1 << 20
MAX_LET_GO = 2000
MAX_OUTPUT_BYTES = 64 << 20
_START_TIMEOUT_S = 30
_DRAIN_TIMEOUT_S = 2
_SCRIPT = Path(__file__).with_name("worker.py")


class WorkerLost(Exception):
    """The worker ended while it should have run a command; the text holds its last words."""


class Worker:
    """A started worker. Use `Worker.start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, control: socket.socket, fence: Fence, executable: Path
    ) -> None:
        self._process = process
        self.fence = fence
        self.executable = executable
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[int] = self._loop.create_future()
        self._run_id = ""
        self._runs = 0
        self._last_words: deque[bytes] = deque(maxlen=20)
        self._listening = asyncio.create_task(self._keep_last_words(), name="worker stderr")
        self._has_let_go = False
        self.is_alive = True
        self._loop.add_reader(control, self._receive)

    @classmethod
    async def start(cls, backend: Backend, environment: Mapping[str, str]) -> "Worker":
        """A worker whose environment is `environment`. Raises WorkerLost if Terraform can't be loaded."""
        fence = await asyncio.to_thread(Fence.make)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_SCRIPT)),
                *(backend.kind, str(backend.path), str(theirs.fileno()), *fence.directories),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=mark(environment, fence),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        ours.setblocking(False)
        worker = cls(process, ours, fence, backend.path)
        await asyncio.to_thread(fence.enclose, process.pid)
        return worker

    @property
    def pid(self) -> int:
        """The process id, which is the process group's too."""
        return self._process.pid

    async def wait_loaded(self) -> None:
        """Returns once Terraform is loaded; commands may be sent before. Raises WorkerLost."""
        if self._runs == 0 and not self._answer.done():
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    await asyncio.shield(self._answer)
            except TimeoutError:
                raise WorkerLost(f"Terraform was not loaded within {_START_TIMEOUT_S} s.") from None
        if not self.is_alive:
            raise self._lost()

    async def run(
        self,
        argv: Sequence[str],
        on_line: Callable[[bytes], None],
        on_error_line: Callable[[bytes], None],
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> int:
        """Runs a command and returns its exit code. Raises WorkerLost, also when a signal ended Terraform."""
        await self.wait_loaded()
        self._runs += 1
        self._run_id = str(self._runs)
        self._answer = self._loop.create_future()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        readers = [
            LineReader(out, on_line, max_line_bytes),
            LineReader(err, on_error_line, MAX_LINE_BYTES),
        ]
        try:
            self._send({"id": self._run_id, "argv": list(argv)}, [out_end, err_end])
            os.close(out_end)
            os.close(err_end)
            code = await asyncio.shield(self._answer)
            await self._drain(readers)
        finally:
            for reader in readers:
                reader.close()
            self._run_id = ""
        if not self.is_alive:
            raise self._lost()
        if code < 0:
            self._end()  # what the executable had started lives on in its group
            raise WorkerLost(f"Terraform was ended by signal {-code}.")
        return code

    def interrupt(self) -> None:
        """Asks the running command to stop, as SIGINT does; the second time it stops at once."""
        if self._run_id and self.is_alive:
            self._send({"interrupt": self._run_id}, [])

    def kill(self) -> None:
        """Ends the worker and all that it started, now."""
        if not self.is_alive:  # killed before; the number may be another's by now
            return
        try:
            if self._has_let_go:  # they may be in the worker's process group; the fence finds the others
                os.kill(self._process.pid, signal.SIGKILL)
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def let_go(self, pids: Sequence[int]) -> None:
        """These processes live on when the worker ends."""
        if pids and self.is_alive:
            self._has_let_go = True
            self._send({"left": list(pids)[:MAX_LET_GO]}, [])

    async def close(self) -> None:
        """Kills the worker and waits until it is gone."""
        self.kill()
        await self._process.wait()
        self._end()
        await asyncio.to_thread(self.fence.remove)
        await self._listening

    def _send(self, request: dict[str, object], descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
        except OSError:
            self._end()

    def _receive(self) -> None:
        try:
            message = self._control.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._end()
            return
        answer = json.loads(message)
        if answer["id"] == self._run_id and not self._answer.done():
            self._answer.set_result(answer["code"])

    def _end(self) -> None:
        if not self.is_alive:
            return
        self.kill()
        self.is_alive = False
        self._loop.remove_reader(self._control)
        self._control.close()
        if not self._answer.done():
            self._answer.set_result(-signal.SIGKILL)

    async def _drain(self, readers: list[LineReader]) -> None:
        ends = asyncio.gather(*(reader.ended.wait() for reader in readers))
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await ends
        except TimeoutError:
            pass

    async def _keep_last_words(self) -> None:
        if self._process.stderr is None:
            return
        while chunk := await self._process.stderr.read(4096):
            self._last_words.append(chunk)

    def _lost(self) -> WorkerLost:
        words = b"".join(self._last_words).decode("utf-8", "replace").strip()
        return WorkerLost(words[-2000:] or "Terraform's process ended unexpectedly.")
