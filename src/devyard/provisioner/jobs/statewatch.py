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
        self._is_stopped = False

    def hurry(self) -> None:
        """Terraform is about to write: look at once, and again until it has."""
        self._hurried.set()

    def stop(self) -> None:
        """Ends `run` after the look that is under way: one that is cut off could be lost."""
        self._is_stopped = True
        self._hurried.set()

    async def run(self) -> None:
        """Looks every 25 ms, more often for a moment when hurried, until stopped."""
        while not self._is_stopped:
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._hurried.wait()
            except TimeoutError:
                await self.look(STATE_FILE)
                continue
            self._hurried.clear()
            for _ in range(_HURRIED_LOOKS):
                if self._is_stopped or await self.look(STATE_FILE):
                    break
                await asyncio.sleep(_HURRIED_INTERVAL_S)

    async def finish(self, *, saves: bool = False) -> bytes:
        """The newest complete state after Terraform has ended; with `saves` it is told as the others were."""
        for name in (STATE_FILE, ERRORED_STATE_FILE):
            self._seen = None
            await self.look(name, saves=saves)
        return self.latest

    async def look(self, name: str, *, saves: bool = True) -> bool:
        """Takes the state from the file if it is complete and newer; whether it was."""
        found = await asyncio.to_thread(self._read, self._directory / name, self._seen, self._head)
        if found is None:
            return False
        self._seen, data, head = found
        if not _is_newer(head, self._head):
            return False
        self.latest, self._head, self.is_newer = data, head, True
        if saves:
            self._save(self.latest)
        return True

    def _read(
        self, path: Path, seen: tuple[int, int] | None, known: StateHead | None
    ) -> tuple[tuple[int, int], bytes, StateHead] | None:
        """The file's state if it is complete and has changed; written down if it is newer. Runs in a thread."""
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) == seen:
                return None
            data = path.read_bytes()
        except OSError:
            return None
        head = read_head(data)
        if head is None:
            return None
        if _is_newer(head, known):
            self._keep(data)
        return (stat.st_mtime_ns, stat.st_size), data, head


def _is_newer(head: StateHead, known: StateHead | None) -> bool:
    return known is None or (head.lineage == known.lineage and head.serial > known.serial)
