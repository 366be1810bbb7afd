"""Terraform's state file while it applies: read again and again, so that a killed build loses nothing.

Terraform rewrites the file in place after each resource, so a reader may see half of it. Invariant: `latest` is
always complete, of the workspace's lineage, and never older than what came before (docs/design/builds.md).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from devyard.provisioner.results.instances import StateHead, read_head
from devyard.provisioner.templates.workdir import ERRORED_STATE_FILE, STATE_FILE

INTERVAL_S = 0.025


class StateWatch:
    """Watches the state in `directory`; `prior` is the state before. `save` gets each newer one."""

    def __init__(self, directory: Path, prior: bytes, save: Callable[[bytes], None]) -> None:
        self.latest = prior
        self.is_newer = False
        self._directory = directory
        self._save = save
        self._head = read_head(prior)
        self._seen: tuple[int, int] | None = None

    async def run(self) -> None:
        """Looks every 25 ms until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.look(STATE_FILE)

    async def finish(self) -> bytes:
        """The newest complete state after Terraform has ended."""
        self._seen = None
        for name in (STATE_FILE, ERRORED_STATE_FILE):
            await self.look(name, is_last=True)
        return self.latest

    async def look(self, name: str, *, is_last: bool = False) -> None:
        """Takes the state from the file if it is complete and newer."""
        path = self._directory / name
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen and not is_last:
                return
            data = await asyncio.to_thread(path.read_bytes)
        except OSError:
            return
        head = read_head(data)
        if head is None:
            return
        self._seen = (stat.st_mtime_ns, stat.st_size)
        if _is_newer(head, self._head):
            self.latest, self._head, self.is_newer = data, head, True
            if not is_last:
                self._save(data)


def _is_newer(head: StateHead, known: StateHead | None) -> bool:
    return known is None or (head.lineage == known.lineage and head.serial > known.serial)
