"""What runs beside an open connection: usage reports, the watch for a stopped workspace, network figures.

Called by ssh and port-forward. Each runs in a daemon thread with a client of its own and ends with the process;
a server that is away for a while changes nothing for the connection.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import msgspec

from devyard.cli.connect.pump import Counts
from devyard.net.client import Head
from devyard.sdk import workspaces
from devyard.sdk.client import Client
from devyard.wire.errors import AppError
from devyard.wire.workspaces import UsageRequest

USAGE_INTERVAL_S = 60.0


def keep_reporting_usage(client: Client, workspace_id: UUID, agent_id: UUID, app_name: str) -> None:
    """Reports once now and once a minute that somebody works there."""
    request = UsageRequest(agent_id, app_name)
    twin = client.twin()

    def report() -> None:
        while True:
            with contextlib.suppress(AppError):
                workspaces.report_usage(twin, workspace_id, request)
            time.sleep(USAGE_INTERVAL_S)

    _start(report)


def watch_for_stop(client: Client, workspace_id: UUID, interval_s: float, on_stop: Callable[[], None]) -> None:
    """Calls `on_stop` once when the workspace is no longer meant to run."""
    twin = client.twin()

    def watch() -> None:
        while True:
            time.sleep(interval_s)
            with contextlib.suppress(AppError):
                if workspaces.get_workspace(twin, workspace_id).latest_build.transition != "start":
                    on_stop()
                    return

    _start(watch)


class NetworkFigures:
    """Writes `DIR/PPID.json`, which editors show in their status bar."""

    def __init__(
        self, client: Client, agent_id: UUID, directory: Path, counts: Counts, interval_s: float, relay_name: str
    ) -> None:
        self.agent_id, self.counts = agent_id, counts
        self.interval_s, self.relay_name = interval_s, relay_name
        self.path = directory / f"{os.getppid()}.json"
        self._twin = client.twin()

    def start(self) -> None:
        """Goes on until the process ends."""
        _start(self._run)

    def remove(self) -> None:
        """Takes the file away at the end."""
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        from devyard.cli.connect.agentstream import open_agent_stream
        from devyard.cli.connect.ping import measure_round_trip

        sent, received, stream = 0, 0, None
        while True:
            latency_ms = 0.0
            try:
                if stream is None:
                    stream = open_agent_stream(self._twin, self.agent_id, Head("ping")).socket
                    stream.settimeout(5)
                latency_ms = measure_round_trip(stream)
            except Exception:  # the session edge: figures are an extra, never a reason to end a connection
                if stream is not None:
                    stream.close()
                stream = None
            up, down = self.counts.sent - sent, self.counts.received - received
            sent, received = self.counts.sent, self.counts.received
            self.write(latency_ms, up / self.interval_s, down / self.interval_s)
            time.sleep(self.interval_s)

    def write(self, latency_ms: float, up_per_s: float, down_per_s: float) -> None:
        """One set of figures, in one step."""
        figures = {
            "p2p": False,
            "latency": round(latency_ms, 3),
            "preferred_derp": self.relay_name,
            "derp_latency": {self.relay_name: round(latency_ms, 3)},
            "upload_bytes_sec": int(up_per_s),
            "download_bytes_sec": int(down_per_s),
            "using_coder_connect": False,
        }
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(figures))
            temporary.replace(self.path)


def _start(target: Callable[[], None]) -> None:
    threading.Thread(target=target, daemon=True).start()
