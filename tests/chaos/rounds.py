"""One kill after the other: who is killed, when, and what has to hold afterwards.

Each round begins a build, kills something at a step of it, waits for the build's end, and holds the world against
the saved state and the log. Then the workspace has to be started, stopped or deleted without trouble.
"""

import asyncio
import contextlib
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.chaos.place import Failure, Place
from tests.chaos.world import ALL, STOPPED, World, list_saved

LIMIT_S = 30.0
ENDED = ("succeeded", "failed", "canceled")
VICTIMS = ("terraform", "provisioner", "api", "postgres", "server")
CANCEL = "nobody (canceled)"
STEPS = ("posted", "claimed", "begun", "held", "made", "several made", "nearly over", "over")
WANTED = {"start": ALL, "stop": STOPPED, "delete": set[str]()}


@dataclass(frozen=True)
class Kill:
    """What is killed at which step of a build of a workspace on which kind of provisioner."""

    victim: str
    step: str
    transition: str
    where: str


@dataclass
class Tally:
    """What happened in all rounds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    named: int = 0
    only_planned: int = 0
    recovered: int = 0
    slowest: dict[str, float] = field(default_factory=dict)

    def report(self) -> str:
        """For people."""
        kills = sum(self.victims[victim] for victim in VICTIMS)
        lines = [f"{kills} kills: {_list(self.victims)}", f"steps: {_list(self.steps)}"]
        lines.append(f"builds ended: {_list(self.outcomes)}")
        lines.append(f"existing things known by name only: {self.named}, of those as planned: {self.only_planned}")
        lines.append(f"next builds that worked: {self.recovered}")
        slow = ", ".join(f"{victim} {seconds:.1f} s" for victim, seconds in sorted(self.slowest.items()))
        return "\n".join([*lines, f"longest from kill to the build's end: {slow}"])


class Story:
    """A workspace that lives through kills."""

    def __init__(self, place: Place, tally: Tally, chance: random.Random, where: str) -> None:
        self._place = place
        self._tally = tally
        self._chance = chance
        self._where = where
        self._number = 0
        self._workspace_id = ""
        self._world = World(place.world, "none")
        self._named: set[str] = set()
        self._removed: set[str] = set()
        self._tainted: set[str] = set()

    async def live_through(self, kill: Kill) -> None:
        """One kill, its consequences, and the way back. Raises Failure where a promise is not kept."""
        try:
            await self._prepare(kill.transition)
            build = await self._begin(kill.transition)
            await self._wait_step(kill.step, build)
            await asyncio.sleep(self._chance.uniform(0, 0.02))
            killed_at = await self._kill(kill, build)
            self._world.hold(False)
            ended = await self._wait_end(build, killed_at, kill)
            await self._compare(ended, kill)
            await self._recover(ended)
        except (Failure, psutil.Error) as error:
            raise Failure(f"{kill}: {error}") from error

    async def live_through_a_stop(self) -> float:
        """The external provisioner gets SIGSTOP in a build, and SIGCONT once the build was given up."""
        process = self._place.outside["outside"]
        kill = Kill("provisioner", "held", "start", self._where)
        build = await self._create()
        self._world.hold(True)
        await self._wait_step("begun", build)
        stopped_at = time.monotonic()
        process.send_signal(signal.SIGSTOP)
        ended = await self._wait_end(build, stopped_at, kill)
        took_s = time.monotonic() - stopped_at
        process.send_signal(signal.SIGCONT)
        self._world.hold(False)
        await self._compare(ended, kill)
        deadline = time.monotonic() + LIMIT_S
        while "terraform_data.disk" not in list_saved(await self._place.read_state(build["id"])):
            if time.monotonic() > deadline:
                raise Failure("the state of the provisioner that stood still was not taken in")
            await asyncio.sleep(0.1)
        await self._build_through("start")
        await self.finish()
        return took_s

    async def finish(self) -> None:
        """Deletes the workspace; what is left has to be known by name."""
        if self._workspace_id:
            await self._build_through("delete")
            self._forget_workspace()

    async def _prepare(self, transition: str) -> None:
        """A workspace from which this transition has something to do."""
        if not self._workspace_id:
            if transition == "start":
                return
            await self._create()
            await self._build_through("start", begins=False)
        elif transition == "start":
            await self._build_through("stop")
        else:
            await self._build_through("start")

    async def _begin(self, transition: str) -> dict[str, Any]:
        if not self._workspace_id:
            return await self._create()
        self._world.forget_begun()
        return await self._post_build(transition)

    async def _create(self) -> dict[str, Any]:
        self._number += 1
        body = {"name": f"w{self._where[:2]}{self._number}", "template_id": self._place.templates[self._where]}
        workspace = await self._place.call("POST", "/users/me/workspaces", body)
        self._workspace_id = workspace["id"]
        self._world = World(self._place.world, self._workspace_id)
        return dict(workspace["latest_build"])

    async def _post_build(self, transition: str) -> dict[str, Any]:
        path = f"/workspaces/{self._workspace_id}/builds"
        reply = await self._place.ask("POST", path, {"transition": transition})
        if reply.status_code == 409:  # the first attempt's answer was lost
            return await self._get_latest()
        if reply.status_code >= 400:
            raise Failure(f"the {transition} is refused: {reply.text}")
        return dict(reply.json())

    async def _get_latest(self) -> dict[str, Any]:
        workspace = await self._place.call("GET", f"/workspaces/{self._workspace_id}?include_deleted=true")
        return dict(workspace["latest_build"])

    async def _wait_step(self, step: str, build: dict[str, Any]) -> None:
        """Returns when the build has come to the step, or is over: some kills come too late, which is fine."""
        before = self._world.list_things()
        if step == "held":
            self._world.hold(True)
        checks = {
            "posted": lambda: True,
            "begun": self._world.has_begun,
            "held": self._world.has_begun,
            "made": lambda: self._count_changes(before) >= 1,
            "several made": lambda: self._count_changes(before) >= 3,
            "nearly over": lambda: self._count_changes(before) >= 5,
        }
        deadline = time.monotonic() + 20
        next_look = 0.0
        while time.monotonic() < deadline:
            if step in checks and checks[step]():
                return
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 0.05
                status = (await self._place.call("GET", f"/workspacebuilds/{build['id']}"))["job"]["status"]
                if status in ENDED or (step == "claimed" and status != "pending"):
                    return
            await asyncio.sleep(0.001)
        raise Failure(f"the build does not come to the step {step!r}")

    def _count_changes(self, before: set[str]) -> int:
        names = (
            {path.name for path in self._world.directory.iterdir()} if self._world.directory.is_dir() else set()
        )
        now = {name for name in names if "." not in name and name != "hold"}
        return abs(len(now) - len(before))

    async def _kill(self, kill: Kill, build: dict[str, Any]) -> float:
        """Kills the victim, sees to it that what a service manager restarts is restarted; when it was."""
        place = self._place
        killed_at = time.monotonic()
        if kill.victim == CANCEL:
            await place.ask("PATCH", f"/workspacebuilds/{build['id']}/cancel")
        elif kill.victim == "terraform":
            for process in place.find_workers(self._where):
                _send_kill(process)
        elif kill.victim == "api":
            for process in place.find("server api"):
                _send_kill(process)
        elif kill.victim == "postgres":
            for process in place.find("postgres", "-D"):
                _send_kill(process)
        elif kill.victim == "server":
            assert place.server
            place.server.kill()
            place.server.wait()
            killed_at = time.monotonic()
            await place.start_server()
        elif self._where == "built-in":
            for process in place.find("provisioner start"):
                _send_kill(process)
        else:
            place.outside["outside"].kill()
            place.outside["outside"].wait()
            place.start_outside("outside")
        self._tally.victims[kill.victim] += 1
        self._tally.steps[f"{kill.transition} {kill.step}"] += 1
        return killed_at

    async def _wait_end(self, build: dict[str, Any], killed_at: float, kill: Kill) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = await self._place.call("GET", f"/workspacebuilds/{build['id']}")
            took_s = time.monotonic() - killed_at
            if found["job"]["status"] in ENDED:
                break
            if took_s > LIMIT_S:
                raise Failure(f"the build has not ended after {took_s:.0f} s: {found['job']}")
            await asyncio.sleep(0.05)
        slowest = self._tally.slowest
        slowest[kill.victim] = max(took_s, slowest.get(kill.victim, 0.0))
        self._tally.outcomes[found["job"]["status"]] += 1
        return found

    async def _compare(self, build: dict[str, Any], kill: Kill) -> None:
        """Holds the world and the log against the state."""
        status, error = build["job"]["status"], build["job"].get("error", "")
        if status == "failed" and (len(error) < 40 or "Traceback" in error):
            raise Failure(f"the build failed without a reason: {error!r}")
        if (status == "canceled" and kill.victim != CANCEL) or (status == "failed" and kill.victim == CANCEL):
            raise Failure(f"the build ended as {status}: {error!r}")
        await self._wait_scripts_gone()
        state = await self._place.read_state(build["id"])
        saved = list_saved(state)
        orphans = [str(name) for name in build["possible_orphans"]]
        named = {name.split(" (")[0] for name in orphans}
        planned = {name.split(" (")[0] for name in orphans if "(planned" in name}
        # Terraform does not run the scripts that remove a thing whose making was cut short; providers remove it.
        self._tainted = (self._tainted - saved) | list_saved(state, only_tainted=True)
        self._named = (self._named | named) - saved
        existing = self._world.list_things()
        if unknown := existing - saved - self._named - self._tainted:
            raise Failure(
                f"{sorted(unknown)} exist and nobody knows; state {sorted(saved)}, named {sorted(named)}"
            )
        self._removed |= saved - existing
        by_name = existing - saved
        self._tally.named += len(by_name)
        self._tally.only_planned += len(by_name & planned)
        if lost := await self._read_complete(build) - saved:
            raise Failure(f"{sorted(lost)} were reported complete and are in no state ({status}: {error})")

    async def _read_complete(self, build: dict[str, Any]) -> set[str]:
        """What the log says was made in this build and not removed after that."""
        made: set[str] = set()
        lines = await self._place.call("GET", f"/workspacebuilds/{build['id']}/logs")
        seen = Counter((line["created_at"], line["output"]) for line in lines)
        doubled = [key for key, count in seen.items() if count > 1 and ":" in key[1]]
        if doubled:
            raise Failure(f"log lines stand there twice: {doubled[:3]}")
        for line in lines:
            if match := re.match(r"(terraform_data\S+): (Creation|Destruction) complete", line["output"]):
                (made.add if match[2] == "Creation" else made.discard)(match[1])
        return made

    async def _wait_scripts_gone(self) -> None:
        deadline = time.monotonic() + 15
        while scripts := self._world.list_scripts():
            if time.monotonic() > deadline:
                raise Failure(f"Terraform's scripts go on: {scripts}")
            await asyncio.sleep(0.05)

    async def _recover(self, build: dict[str, Any]) -> None:
        """The next build works, whatever it is."""
        if build["job"]["status"] == "succeeded" and build["transition"] == "delete":
            self._forget_workspace()
            return
        transition = self._chance.choice(["start", "start", "stop", "delete"])
        await self._build_through(transition)
        self._tally.recovered += 1
        if transition == "delete":
            self._forget_workspace()

    async def _build_through(self, transition: str, *, begins: bool = True) -> None:
        """A build that nobody disturbs; afterwards the world is as wanted, but for what was named before."""
        build = await (self._post_build(transition) if begins else self._get_latest())
        deadline = time.monotonic() + 60
        while build["job"]["status"] not in ENDED:
            if time.monotonic() > deadline:
                raise Failure(f"an undisturbed {transition} has not ended after 60 s: {build['job']}")
            await asyncio.sleep(0.05)
            build = await self._place.call("GET", f"/workspacebuilds/{build['id']}")
        if build["job"]["status"] != "succeeded":
            raise Failure(f"an undisturbed {transition} {build['job']['status']}: {build['job'].get('error')}")
        saved = list_saved(await self._place.read_state(build["id"]))
        if saved != WANTED[transition]:
            raise Failure(f"after an undisturbed {transition} the state is {sorted(saved)}")
        existing = self._world.list_things()
        # A real provider's refresh finds out that a removal had got through; terraform_data has none.
        if missing := WANTED[transition] - existing - self._removed:
            raise Failure(f"after an undisturbed {transition} there is no {sorted(missing)}")
        if unknown := existing - saved - self._named - self._tainted:
            raise Failure(f"after an undisturbed {transition} nobody knows of {sorted(unknown)}")
        self._named -= saved
        self._tainted -= saved
        self._removed &= saved - existing

    def _forget_workspace(self) -> None:
        self._world.clear()
        self._workspace_id = ""
        self._named, self._removed, self._tainted = set(), set(), set()


def make_plan(chance: random.Random, count: int) -> list[Kill]:
    """`count` kills: every victim at every step in turn, in random order; costly ones less often in short runs."""
    plan: list[Kill] = []
    while len(plan) < count:
        some = [
            Kill(victim, step, chance.choice(["start", "start", "stop", "delete"]), where)
            for victim in (*VICTIMS, CANCEL)
            for step in STEPS
            for where in ("built-in", "outside")
        ]
        chance.shuffle(some)
        plan += some
    return plan[:count]


def make_short_plan(chance: random.Random, count: int) -> list[Kill]:
    """`count` kills in which every victim comes, those more often that cost least, each step in turn."""
    victims = ["terraform"] * 4 + ["provisioner"] * 3 + ["postgres"] * 2 + ["api"] * 2 + ["server", CANCEL]
    steps = list(STEPS)
    chance.shuffle(steps)
    plan = [
        Kill(
            victims[number % len(victims)],
            steps[number % len(steps)],
            chance.choice(["start", "start", "stop", "delete"]),
            chance.choice(["built-in", "outside"]),
        )
        for number in range(count)
    ]
    chance.shuffle(plan)
    return plan


async def stop_a_provisioner(place: Place) -> float:
    """A provisioner stands still in the middle of a build and goes on later; seconds until the build had ended."""
    tally = Tally()
    story = Story(place, tally, random.Random(0), "outside")
    return await story.live_through_a_stop()


async def run_rounds(place: Place, kills: Sequence[Kill], chance: random.Random) -> Tally:
    """All rounds; the tally."""
    tally = Tally()
    stories = {where: Story(place, tally, chance, where) for where in ("built-in", "outside")}
    for number, kill in enumerate(kills, start=1):
        began = time.monotonic()
        await stories[kill.where].live_through(kill)
        print(f"{number:>4} {kill} {time.monotonic() - began:.1f} s", flush=True)
    for story in stories.values():
        await story.finish()
    return tally


def _send_kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)


def _list(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
