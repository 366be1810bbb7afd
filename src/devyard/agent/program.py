"""The agent as a whole: builds every part, follows the manifest, and ends in order. docs/design/agent.md

Called by cli/agent.py. Life: connect → manifest → `starting`, start scripts → `ready` → … → stop asked for
(signal, or the server's Shutdown) → `shutting_down`, stop scripts → `off`. Invariants: scripts of a start run
once per process, whatever reconnects; the loop is never blocked; nothing that a child needs waits for the
SSH server's import.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from devyard import REPORTED_VERSION
from devyard.agent import hostkeys, workplace
from devyard.agent.link import ControlLink, SupersededError
from devyard.agent.logs import LogShipper, ShippingHandler
from devyard.agent.outbox import Outbox
from devyard.agent.settings import AgentSettings
from devyard.agent.spares import RelayPools
from devyard.agent.ssh.context import Counts, SSHContext, Surroundings
from devyard.agent.streams import StreamServer
from devyard.wire.agentlink import Ack, Hello, Lifecycle, Manifest, Relays, ServerMessage, Shutdown
from devyard.wire.enums import AgentLifecycle

log = logging.getLogger("devyard.agent")

EXIT_OK = 0
EXIT_SUPERSEDED = 77
"""The server refuses this agent for good (EX_NOPERM): starting it again is of no use."""
FLUSH_TIMEOUT_S = 2.0
STREAM_GRACE_S = 0.5
MANIFEST_WAIT_S = 0.5

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armv7", "i686": "386"}


class Agent:
    """One agent process."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._counts = Counts()
        self._outbox = Outbox()
        self._link = ControlLink(
            settings.url,
            settings.token,
            self._outbox,
            self._make_hello,
            self._on_message,
            on_request=self._load_host_key,
        )
        self._logs = LogShipper(self._outbox)
        self._shipping = ShippingHandler(self._logs)
        self._place = workplace.Workplace(settings)
        self._streams = StreamServer(self._ssh_context, self._counts)
        self._pools = RelayPools(self._streams.serve)
        self._duties: workplace.Duties | None = None
        self._host_key: asyncio.Future[tuple[bytes, str]] | None = None
        self._has_manifest = asyncio.Event()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Runs until told to stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, number)
        logging.getLogger("devyard").addHandler(self._shipping)
        link = asyncio.ensure_future(self._link.run())
        self._start(self._logs.run())
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({link, stop}, return_when=asyncio.FIRST_COMPLETED)
            if link.done():
                return await self._end_superseded(link)
            await self._shut_down()
            return EXIT_OK
        finally:
            for task in (link, stop, *self._tasks):
                task.cancel()
            await asyncio.gather(link, stop, *self._tasks, return_exceptions=True)
            self._streams.close()
            logging.getLogger("devyard").removeHandler(self._shipping)

    def _on_signal(self, number: int) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        self._stop.set()

    def _on_message(self, message: ServerMessage) -> None:
        if isinstance(message, Ack):
            self._outbox.ack(message.seq)
        elif isinstance(message, Manifest):
            self._on_manifest(message)
        elif isinstance(message, Relays):
            self._pools.update(message.relays)
        elif isinstance(message, Shutdown):
            log.info("The server asks this agent to stop: %s", message.reason)
            self._stop.set()

    def _on_manifest(self, manifest: Manifest) -> None:
        if self._stop.is_set():
            return
        self._shipping.source_id = manifest.agent_id
        self._pools.update(manifest.relays)
        is_first = self._place.manifest is None
        self._place.update(manifest)
        self._has_manifest.set()
        if is_first:
            self._start(self._start_up(manifest))
        elif self._duties is not None:
            self._duties.update(manifest)

    async def _start_up(self, manifest: Manifest) -> None:
        """Runs the start scripts, then says whether the workspace is ready."""
        self._report("starting")
        # Imported here, so that the connection never waits for what it does not need.
        from devyard.agent.workplace import Duties

        await asyncio.to_thread(self._place.prepare)
        self._duties = Duties(self._settings, self._place, self._logs, self._outbox, self._counts, self._link)
        self._start(self._streams.load_ssh_early())
        self._duties.update(self._place.manifest or manifest)
        result = await self._duties.start_scripts(manifest.scripts)
        if not self._stop.is_set():
            states: dict[str, AgentLifecycle] = {"ok": "ready", "error": "start_error", "timeout": "start_timeout"}
            self._report(states[result])

    async def _shut_down(self) -> None:
        """New streams end first, then stop scripts run, then the server hears of it."""
        await self._pools.close(grace_s=STREAM_GRACE_S)
        self._report("shutting_down")
        state: AgentLifecycle = "off"
        if self._duties is not None and self._place.manifest is not None:
            result = await self._duties.stop_scripts(self._place.manifest.scripts)
            states: dict[str, AgentLifecycle] = {
                "ok": "off",
                "error": "shutdown_error",
                "timeout": "shutdown_timeout",
            }
            state = states[result]
            await self._duties.close()
        self._logs.flush()
        self._report(state)
        if not await self._link.flush(FLUSH_TIMEOUT_S):
            log.warning("The server could not be told that this agent is off.")
        await self._link.close()

    async def _end_superseded(self, link: "asyncio.Task[None]") -> int:
        error = link.exception()
        if not isinstance(error, SupersededError):
            raise error or RuntimeError("the control link ended")
        log.error(
            "The server refuses this agent for good: %s It ends now; a running workspace has a newer agent.",
            error,
        )
        await self._pools.close(grace_s=0.0)
        if self._duties is not None and self._place.manifest is not None:
            await self._duties.stop_scripts(self._place.manifest.scripts)
            await self._duties.close()
        return EXIT_SUPERSEDED

    def _report(self, state: AgentLifecycle) -> None:
        log.info("state: %s", state)
        self._outbox.put(Lifecycle(0, state, datetime.now(UTC)))

    async def _make_hello(self) -> Hello:
        """Says who this is. Waits a moment for the manifest, which names the directory to expand."""
        _, public_key = await self._load_host_key()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MANIFEST_WAIT_S):
                await self._has_manifest.wait()
        system = os.uname()
        return Hello(
            version=REPORTED_VERSION,
            os=system.sysname.lower(),
            arch=_ARCHITECTURES.get(system.machine, system.machine),
            expanded_directory=str(self._place.surroundings().directory),
            host_keys=[public_key],
        )

    def _load_host_key(self) -> "asyncio.Future[tuple[bytes, str]]":
        if self._host_key is None or (self._host_key.done() and self._host_key.exception()):
            self._host_key = asyncio.ensure_future(
                asyncio.to_thread(hostkeys.load_host_key, self._settings.state_dir)
            )
        return self._host_key

    def _ssh_context(self) -> SSHContext:
        assert self._host_key is not None
        return SSHContext(
            self._host_key.result()[0],
            self._surroundings,
            self._counts,
            self._settings.block_file_transfer,
        )

    def _surroundings(self) -> Surroundings:
        return self._place.surroundings()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a part of the agent failed", exc_info=error)
