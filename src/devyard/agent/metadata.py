"""Measures the template's metadata: each item by its own script, interval and time limit; sent once a second.

Owned by program.py. A slow script delays only itself; of one key only the newest value is sent.
"""

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from devyard.agent import children
from devyard.agent.outbox import Outbox
from devyard.agent.scripts.runner import open_null
from devyard.agent.ssh.context import Surroundings
from devyard.wire.agentlink import Metadata, MetadataItem, MetadataValue

VALUE_BYTES = 2048
BATCH_INTERVAL_S = 1.0
KILL_GRACE_S = 1.0


class MetadataCollector:
    """Runs the items of one manifest until cancelled."""

    def __init__(self, surroundings: Callable[[], Surroundings], outbox: Outbox) -> None:
        self._surroundings = surroundings
        self._outbox = outbox
        self._fresh: dict[str, MetadataValue] = {}
        self._wake = asyncio.Event()

    async def run(self, items: Sequence[MetadataItem]) -> None:
        """Measures all items, each for itself, until cancelled."""
        await asyncio.gather(self._send(), *(self._repeat(item) for item in items))

    async def measure(self, item: MetadataItem) -> MetadataValue:
        """Runs one script and takes its output; a failure is the value's `error`."""
        limit_s = float(item.timeout_s or item.interval_s or 10)
        place = self._surroundings()
        our_end, child_end = os.pipe()
        os.set_blocking(our_end, False)
        try:
            with open_null() as null:
                child = children.spawn(
                    [place.shell, "-c", item.script],
                    cwd=place.directory,
                    environment=place.environment,
                    stdin=null,
                    stdout=child_end,
                    stderr=child_end,
                )
        except OSError as error:
            os.close(our_end)
            return _value(item, b"", f"not started: {error.strerror or error}")
        finally:
            os.close(child_end)
        output = _Output(our_end)
        error_text = ""
        try:
            async with asyncio.timeout(limit_s):
                code = await child.wait()
            error_text = "" if code == 0 else f"exit status {code if code > 0 else 128 - code}"
        except TimeoutError:
            error_text = f"no value within {limit_s:g} s"
            await child.end_group(KILL_GRACE_S)
        except asyncio.CancelledError:
            await child.end_group(KILL_GRACE_S)
            raise
        finally:
            data = output.close()
        return _value(item, data, error_text)

    async def _repeat(self, item: MetadataItem) -> None:
        while True:
            self._fresh[item.key] = await self.measure(item)
            self._wake.set()
            if item.interval_s <= 0:
                return
            # Jitter spreads the scripts of one workspace, and the workspaces of one server.
            await asyncio.sleep(item.interval_s * random.uniform(0.95, 1.05))  # noqa: S311

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._outbox.put(Metadata(0, list(self._fresh.values())))
            self._fresh.clear()
            await asyncio.sleep(BATCH_INTERVAL_S)


class _Output:
    """Keeps the first bytes of a child's output, and reads the rest away."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._kept = bytearray()
        self._is_reading = True
        self._loop.add_reader(descriptor, self._read)

    def close(self) -> bytes:
        """What the script printed until now."""
        if self._is_reading:
            self._read()
        if self._is_reading:
            self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        return bytes(self._kept)

    def _read(self) -> None:
        for _ in range(16):
            try:
                data = os.read(self._descriptor, 64 * 1024)
            except BlockingIOError:
                return
            if not data:
                self._is_reading = False
                self._loop.remove_reader(self._descriptor)
                return
            self._kept += data[: VALUE_BYTES + 1 - len(self._kept)]


def _value(item: MetadataItem, data: bytes, error: str) -> MetadataValue:
    text = data[:VALUE_BYTES].decode("utf-8", "ignore").replace("\0", "").strip()
    if error and text:
        error = f"{error}: {text}"
    return MetadataValue(item.key, "" if error else text, error[:VALUE_BYTES], datetime.now(UTC))
