"""Terraform's state file while it applies: read again and again, so that a killed build loses nothing.

Terraform rewrites the file in place after each resource, so a reader may see half of it. Invariant: `latest` is
always complete, of the workspace's lineage, and never older than what came before; it lies in a file of its own
before anybody is told of it (docs/design/builds.md).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from devyard.provisioner.results.instances import StateHead, read_head
from devyard.provisioner.templates.workdir import ERRORED_STATE_FILE, STATE_FILE

INTERVAL_S = 0.025
_HURRIED_INTERVAL_S = 0.002
_HURRIED_LOOKS = 10


class StateWatch:
    """Watches the state in `directory`; `prior` is the state before.

    `keep` gets each newer one first, in a thread, to write it down; then `save`.
    """

    def __init__(
        self, directory: Path, prior: bytes, keep: Callable[[bytes], None], save: Callable[[bytes], None]
    ) -> None:
        self.latest = prior
        self.is_newer = False
        self._directory = directory
        self._keep = keep
        self._save = save
        self._head = read_head(prior)
        self._seen: tuple[int, int] | None = None
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Terraform is about to write: look at once, and again until it has."""
        self._hurried.set()

    async def run(self) -> None:
        """Looks every 25 ms, more often for a moment when hurried, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(INTERVAL_S):  # wait_for may swallow the cancellation that ends this
                    await self._hurried.wait()
            except TimeoutError:
                await self.look(STATE_FILE)
                continue
            self._hurried.clear()
            for _ in range(_HURRIED_LOOKS):
                if await self.look(STATE_FILE):
                    break
                await asyncio.sleep(_HURRIED_INTERVAL_S)

    async def finish(self, *, saves: bool = False) -> bytes:
        """The newest complete state after Terraform has ended; with `saves` it is told as the others were."""
        self._seen = None
        for name in (STATE_FILE, ERRORED_STATE_FILE):
            await self.look(name, saves=saves)
        return self.latest

    async def look(self, name: str, *, saves: bool = True) -> bool:
        """Takes the state from the file if it is complete and newer; whether it was."""
        found = await asyncio.to_thread(self._read, self._directory / name)
        if found is None:
            return False
        self.latest, self._head = found
        self.is_newer = True
        if saves:
            self._save(self.latest)
        return True

    def _read(self, path: Path) -> tuple[bytes, StateHead] | None:
        """The file's state, written down, if it is complete and newer. Runs in a thread."""
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._seen:
                return None
            data = path.read_bytes()
        except OSError:
            return None
        head = read_head(data)
        if head is None:
            return None
        self._seen = (stat.st_mtime_ns, stat.st_size)
        if not _is_newer(head, self._head):
            return None
        self._keep(data)
        return data, head


def _is_newer(head: StateHead, known: StateHead | None) -> bool:
    return known is None or (head.lineage == known.lineage and head.serial > known.serial)
