"""What the manifest means for this machine: surroundings of children, and the recurring duties.

Owned by program.py. `Workplace` answers where children run; `Duties` runs what the manifest lists and takes
changes of it while running: metadata, app health, cron and statistics start anew, start scripts never do.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devyard.agent import environment
from devyard.agent.outbox import Outbox
from devyard.agent.settings import AgentSettings
from devyard.agent.ssh.context import Counts, Surroundings
from devyard.wire.agentlink import Manifest, Script

if TYPE_CHECKING:
    from devyard.agent.link import ControlLink
    from devyard.agent.logs import LogShipper
    from devyard.agent.scripts.stages import StageResult

log = logging.getLogger("devyard.agent")

GIT_KEY_NAME = "git_ssh_key"
COMMAND_NAMES = ("devyard", "coder")


class Workplace:
    """The manifest of now and what follows from it."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._surroundings: Surroundings | None = None
        self.manifest: Manifest | None = None

    def update(self, manifest: Manifest) -> None:
        """Takes a new manifest; children that run keep their environment."""
        self.manifest = manifest
        self._surroundings = None

    def surroundings(self) -> Surroundings:
        """Where a child starts. Built once per manifest; the directory is looked for each time."""
        if self._surroundings is None:
            variables = environment.child_environment(self._settings, self.manifest)
            if self.manifest is not None and self.manifest.git_ssh_private_key:
                key = shlex.quote(str(self._git_key_path()))
                variables.setdefault("GIT_SSH_COMMAND", f"ssh -i {key} -o StrictHostKeyChecking=accept-new")
            motd = self.manifest.motd_file if self.manifest is not None else ""
            self._surroundings = Surroundings(
                environment=variables,
                directory=self._settings.home,
                shell=environment.find_shell(variables),
                home=self._settings.home,
                motd_file=environment.expand_path(motd, self._settings.home, variables) if motd else None,
            )
        place = self._surroundings
        directory = environment.working_directory(self._settings, self.manifest, place.environment)
        return Surroundings(place.environment, directory, place.shell, place.home, place.motd_file)

    def prepare(self) -> None:
        """Makes the directories and files that children expect. Reads and writes files: call it in a thread."""
        data, commands = environment.data_dir(self._settings), environment.bin_dir(self._settings)
        try:
            for path in (data, commands):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                if path.stat().st_uid != os.getuid():
                    log.error("%s belongs to someone else: pass --script-data-dir.", path)
                    return
            for name in COMMAND_NAMES:
                _write_command(commands / name)
            if self.manifest is not None and self.manifest.git_ssh_private_key:
                _write_private(self._git_key_path(), self.manifest.git_ssh_private_key)
        except OSError as error:
            log.error("Scripts get no directory of their own: %s", error)

    def _git_key_path(self) -> Path:
        return self._settings.state_dir / GIT_KEY_NAME


class Duties:
    """What goes on while the workspace runs."""

    def __init__(
        self,
        settings: AgentSettings,
        place: Workplace,
        logs: "LogShipper",
        outbox: Outbox,
        counts: Counts,
        link: "ControlLink",
    ) -> None:
        from devyard.agent.metadata import MetadataCollector
        from devyard.agent.scripts.runner import ScriptRunner
        from devyard.agent.stats import StatsReporter

        self._outbox = outbox
        self._runner = ScriptRunner(
            place.surroundings, environment.data_dir(settings), settings.log_dir, logs, outbox
        )
        self._metadata = MetadataCollector(place.surroundings, outbox)
        self._stats = StatsReporter(counts, outbox, lambda: link.latency_ms)
        self._manifest: Manifest | None = None
        self._recurring: dict[str, asyncio.Task[None]] = {}
        self._starting: asyncio.Task[StageResult] | None = None

    def update(self, manifest: Manifest) -> None:
        """Starts what is new or changed, ends what is gone."""
        from devyard.agent.health import watch_apps
        from devyard.agent.scripts.stages import run_cron_scripts

        old = self._manifest
        self._manifest = manifest
        if old is None or old.metadata != manifest.metadata:
            self._restart("metadata", self._metadata.run(manifest.metadata))
        if old is None or old.apps != manifest.apps:
            self._restart("apps", watch_apps(manifest.apps, self._outbox))
        if old is None or old.scripts != manifest.scripts:
            self._restart("cron", run_cron_scripts(self._runner, manifest.scripts))
        if old is None or old.stats_interval_s != manifest.stats_interval_s:
            self._restart("stats", self._stats.run(manifest.stats_interval_s))

    async def start_scripts(self, scripts: Sequence[Script]) -> "StageResult":
        """Runs the start scripts to their end."""
        from devyard.agent.scripts.stages import run_start_scripts

        self._starting = asyncio.ensure_future(run_start_scripts(self._runner, scripts))
        return await self._starting

    async def stop_scripts(self, scripts: Sequence[Script]) -> "StageResult":
        """Ends what still starts and recurs, then runs the stop scripts."""
        from devyard.agent.scripts.stages import run_stop_scripts

        ending: list[asyncio.Task[Any]] = [*self._recurring.values()]
        if self._starting is not None and not self._starting.done():
            ending.append(self._starting)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        return await run_stop_scripts(self._runner, scripts)

    async def close(self) -> None:
        """Lets go of what background processes still write."""
        await self._runner.close()

    def _restart(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._recurring:
            self._recurring[name].cancel()
        task = asyncio.ensure_future(work)
        self._recurring[name] = task
        task.add_done_callback(_log_failure)


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a recurring part of the agent failed", exc_info=error)


def _write_command(path: Path) -> None:
    """The CLI under the names that scripts call, whatever PATH was when the agent started."""
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m devyard "$@"\n'
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    _write_private(path, text, mode=0o755)


def _write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123
        os.fchmod(descriptor, mode)
        out.write(text if text.endswith("\n") else text + "\n")
    new.replace(path)
