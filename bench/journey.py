"""What a user waits for, measured on a server of its own: start, create → connected, build alone, CLI commands.

    python bench/journey.py [--rounds 10]

Prints medians (and minimum and maximum) beside the time of a bare `python -c pass` of the same minutes, since the
machine's speed drifts. Everything runs on loopback and is bounded by --rounds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from benchserver import PYTHON, BenchServer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="devyard-bench-") as root:
        Journey(Path(root), min(rounds, 50)).run()


class Journey:
    """One server, one user, `rounds` workspaces one after the other."""

    def __init__(self, root: Path, rounds: int) -> None:
        self.root, self.rounds = root, rounds
        self.server = BenchServer(root)
        self.environment = self.server.environment
        self.start, self.stop, self.cli = self.server.start, self.server.stop, self.server.cli
        self.figures: dict[str, list[float]] = {}

    def run(self) -> None:
        self.note_commands("bare `python -c pass`", [sys.executable, "-c", "pass"])
        process, _ = self.start()
        self.stop(process)
        for _ in range(3):
            process, took = self.start()
            self.figures.setdefault("server start on existing data → first answer", []).append(took)
            self.stop(process)
        process, _ = self.start()
        try:
            self.measure()
        finally:
            self.stop(process)
        self.report()

    def measure(self) -> None:
        self.api = self.server.sign_in()
        self.cli("templates", "init", "--id", "local", str(self.root / "local"))
        began = time.perf_counter()
        self.cli("templates", "push", "local", "-d", str(self.root / "local"), "--yes")
        self.figures["`templates push`, whole command"] = [(time.perf_counter() - began) * 1000]
        template = self.api.get("/templates").json()[0]["id"]
        for number in range(self.rounds):
            self.measure_workspace(f"w{number}", template)
        self.wait_for(self.create("kept", template), "connected")
        for name, arguments in {
            "`devyard version`": ["version"],
            "`devyard list`": ["list"],
            "`devyard ssh WS -- true`": ["ssh", "kept", "--", "true"],
        }.items():
            self.note_commands(name, [*PYTHON, *arguments])
        self.build("kept", "delete")

    def measure_workspace(self, name: str, template: str) -> None:
        began = time.perf_counter()
        workspace = self.create(name, template)
        self.wait_for(workspace, "connected")
        self.figures.setdefault("create call → agent connected", []).append((time.perf_counter() - began) * 1000)
        self.note_build("start", self.api.get(f"/workspaces/{workspace}").json())
        for transition in ("stop", "delete"):
            self.note_build(transition, self.build(name, transition))

    def create(self, name: str, template: str) -> str:
        reply = self.api.post("/users/me/workspaces", json={"name": name, "template_id": template})
        reply.raise_for_status()
        return str(reply.json()["id"])

    def build(self, name: str, transition: str) -> dict[str, object]:
        workspace = self.api.get(f"/users/me/workspace/{name}").json()
        reply = self.api.post(f"/workspaces/{workspace['id']}/builds", json={"transition": transition})
        reply.raise_for_status()
        for _ in range(3000):
            build = self.api.get(f"/workspacebuilds/{reply.json()['id']}").json()
            if build["job"]["status"] not in ("pending", "running"):
                break
            time.sleep(0.01)
        if build["job"]["status"] != "succeeded":
            raise SystemExit(f"{transition} of {name}: {build['job']}")
        return {"latest_build": build}

    def wait_for(self, workspace: str, status: str) -> None:
        for _ in range(3000):
            build = self.api.get(f"/workspaces/{workspace}").json()["latest_build"]
            if build["job"]["status"] in ("failed", "canceled"):
                raise SystemExit(f"build: {build['job']}")
            agents = [a for r in build["resources"] for a in r.get("agents") or []]
            if agents and all(a["status"] == status for a in agents) and build["job"].get("completed_at"):
                return
            time.sleep(0.01)
        raise SystemExit("the agent did not connect within 30 s")

    def note_build(self, transition: str, workspace: dict[str, object]) -> None:
        job = workspace["latest_build"]["job"]  # type: ignore[index]
        began, ended = (datetime.fromisoformat(job[key]) for key in ("started_at", "completed_at"))
        self.figures.setdefault(f"build alone ({transition}): claim → state saved", []).append(
            (ended - began).total_seconds() * 1000
        )

    def note_commands(self, name: str, command: list[str]) -> None:
        for number in range(self.rounds + 1):
            began = time.perf_counter()
            subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)
            if number:
                self.figures.setdefault(name, []).append((time.perf_counter() - began) * 1000)

    def report(self) -> None:
        print("| what | median ms | min | max |\n|---|---|---|---|")
        for name, values in self.figures.items():
            print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")


if __name__ == "__main__":
    main()
