"""Where the time from the request to the connected agent goes, as `GET /workspacebuilds/{b}/timings` tells it.

    python bench/timings.py [--rounds 10]

Starts a server of its own, makes `rounds` workspaces one after the other and prints each stage's median, minimum
and maximum, the longest stretch between request and connected agent that no span covers, and the time that the
client measured beside that of the spans. `queue` is the wait of a job for a free provisioner.
"""

import argparse
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from journey import Journey

Span = tuple[datetime, datetime]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="devyard-bench-") as root:
        Timings(Path(root), min(rounds, 50)).run()


class Timings(Journey):
    """One server, one user, `rounds` workspaces; everything is read from their timings."""

    def run(self) -> None:
        process, _ = self.start()
        try:
            self.api = self.server.sign_in()
            self.cli("templates", "init", "--id", "local", str(self.root / "local"))
            self.cli("templates", "push", "local", "-d", str(self.root / "local"), "--yes")
            template = self.api.get("/templates").json()[0]["id"]
            for number in range(self.rounds):
                self.measure_one(f"w{number}", template)
        finally:
            self.stop(process)
        self.report()

    def measure_one(self, name: str, template: str) -> None:
        """A workspace from its request to its agent's connection."""
        began = time.perf_counter()
        workspace = self.create(name, template)
        self.wait_for(workspace, "connected")
        measured_ms = (time.perf_counter() - began) * 1000
        timings = self.api.get(f"/workspaces/{workspace}/timings").json()
        stages: dict[str, float] = {}
        spans = list_spans(timings)
        for stage, (started_at, ended_at) in spans:
            stages[stage] = stages.get(stage, 0) + (ended_at - started_at).total_seconds() * 1000
        for stage, value in stages.items():
            self.note(stage, value)
        first = min(started_at for _, (started_at, _) in spans)
        last = max(ended_at for _, (_, ended_at) in spans)
        whole_ms = (last - first).total_seconds() * 1000
        gap_ms = find_gap([span for _, span in spans])
        self.note("request → connected agent, by the spans", whole_ms)
        self.note("the same as the client measured it (polling each 10 ms)", measured_ms)
        self.note("longest stretch that no span covers", gap_ms)
        self.build(name, "delete")

    def note(self, name: str, value: float) -> None:
        """Add a figure."""
        self.figures.setdefault(name, []).append(value)

    def report(self) -> None:
        """Print the table, with one digit, since `queue` and `claim` are short."""
        print("| what | median ms | min | max |\n|---|---|---|---|")
        for name, values in self.figures.items():
            print(f"| {name} | {statistics.median(values):.1f} | {min(values):.1f} | {max(values):.1f} |")


def list_spans(timings: dict[str, Any]) -> list[tuple[str, Span]]:
    """(stage, span) of what lies one behind the other: resources are parts of `apply`, scripts run later."""
    reported = [span for span in timings["provisioner_timings"] if not span["resource"]]
    return [
        (span["stage"], (datetime.fromisoformat(span["started_at"]), datetime.fromisoformat(span["ended_at"])))
        for span in [*reported, *timings["agent_connection_timings"]]
    ]


def find_gap(spans: list[Span]) -> float:
    """The longest stretch between the spans, in milliseconds."""
    longest, covered_to = 0.0, min(span[0] for span in spans)
    for started_at, ended_at in sorted(spans):
        longest = max(longest, (started_at - covered_to).total_seconds() * 1000)
        covered_to = max(covered_to, ended_at)
    return longest


if __name__ == "__main__":
    main()
