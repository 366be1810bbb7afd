"""What is wrong with a workspace and what a repair would do: a plan in sentences. Pure.

Called by actions for the plan and again before it is carried out. Invariant: the same situation and wish give the
same plan with the same id; nothing is left behind unless somebody wished it in so many words.
"""

import hashlib
from collections.abc import Sequence
from uuid import UUID

import msgspec

from devyard.wire.enums import JobStatus, Transition
from devyard.wire.errors import BadRequest, Conflict, Forbidden, Invalid, ValidationError
from devyard.wire.repair import RepairChoice, RepairPlan, RepairStep, RepairVersion

ACTIVE = frozenset({"pending", "running", "canceling"})
MAX_SHOWN = 20
ADVICE = (
    "Nobody knows whether these exist. Look for each where the template makes it (at the cloud, the cluster or on "
    "the machine), by its id or by the workspace's name, made then. Remove by hand what you find."
)

_DOES: dict[Transition, str] = {
    "start": "starts the workspace: what is recorded is compared with what exists, and what is missing is made",
    "stop": "stops the workspace: what is recorded is compared with what exists, and what a stopped workspace "
    "does not have is removed",
    "delete": "deletes the workspace: everything that is recorded is removed",
}


class RecentBuild(msgspec.Struct, frozen=True, kw_only=True):
    """One of a workspace's last builds. `is_unattended`: its lease has ended, and nobody has ended it."""

    id: UUID
    number: int
    transition: Transition
    status: JobStatus
    error: str
    possible_orphans: list[str]
    is_unattended: bool
    version_id: UUID
    version_name: str
    is_version_usable: bool


class SavedState(msgspec.Struct, frozen=True):
    """The state saved with build `number`; `problem`: why it can't be read."""

    number: int
    serial: int
    addresses: tuple[str, ...] = ()
    problem: str = ""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan depends on. `builds` newest first; `states` newest first, down to the first usable one."""

    workspace_name: str
    builds: list[RecentBuild]
    states: list[SavedState]
    active_version_id: UUID
    active_version_name: str
    is_admin: bool


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for; nothing: the obvious."""

    transition: Transition | None = None
    version: RepairVersion | None = None
    forget: tuple[str, ...] = ()
    leave: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The plan, and what carrying it out comes to. `state_number`: the build whose state the next begins with,
    where that is not the newest anyway.
    """

    plan: RepairPlan
    gives_up: bool = False
    state_number: int | None = None
    forget: tuple[str, ...] = ()
    transition: Transition | None = None
    version_id: UUID | None = None
    leaves: bool = False


def decide_repair(situation: Situation, wish: Wish) -> Decision:
    """The plan for a wish.

    Raises:
        Invalid: an address to forget is not recorded.
        BadRequest, Conflict, Forbidden: what is wished can't be done.
    """
    latest = situation.builds[0]
    if latest.status in ACTIVE and not latest.is_unattended:
        return Decision(plan=_describe_busy(situation, wish, latest))
    problems, steps = _find_problems(latest), list[RepairStep]()
    if latest.is_unattended:
        steps.append(RepairStep("give_up", f"Build {latest.number} is given up: it ends as failed."))
    state, restored = _decide_state(situation, problems, steps)
    forget = _check_forget(wish, state, steps)
    if not problems and not forget and not wish.leave:
        return Decision(plan=_make_plan(situation, wish, "", [], state, ()))
    transition = wish.transition or latest.transition
    decision = Decision(
        plan=_make_plan(situation, wish, "", [], state, ()),
        gives_up=latest.is_unattended,
        state_number=restored,
        forget=forget,
        transition=transition,
    )
    if wish.leave:
        _check_leaving(situation, latest, transition)
        steps.append(RepairStep("leave", _describe_leaving(state)))
        version_id = latest.version_id
    else:
        if state is not None and state.problem:
            raise Conflict(
                f"The workspace's state can't be read ({state.problem}), and no earlier one is there. An "
                "administrator can put one in its place (devyard state push), or the workspace can be deleted and "
                "its resources left behind (leave)."
            )
        version_id, name, why = _decide_version(situation, wish.version)
        steps.append(
            RepairStep("build", f'A build is queued with version "{name}" ({why}). It {_DOES[transition]}.')
        )
    plan = _make_plan(situation, wish, " ".join(problems), steps, state, _list_choices(situation, latest))
    plan = msgspec.structs.replace(plan, transition=transition, template_version_id=version_id)
    return msgspec.structs.replace(decision, plan=plan, version_id=version_id, leaves=wish.leave)


def _describe_busy(situation: Situation, wish: Wish, latest: RecentBuild) -> RepairPlan:
    what = "waits for a provisioner" if latest.status == "pending" else "is under way"
    problem = (
        f"Build {latest.number} {what}, so there is nothing to repair now. It can be canceled; if its provisioner "
        "is lost, it ends by itself within 30 seconds."
    )
    return msgspec.structs.replace(_make_plan(situation, wish, problem, [], None, ()), is_needed=False)


def _find_problems(latest: RecentBuild) -> list[str]:
    if latest.is_unattended:
        return [
            f"Build {latest.number} ({latest.transition}) still counts as under way, but its provisioner is gone."
        ]
    if latest.status in ("failed", "canceled"):
        reason = latest.error.split("\n", 1)[0]
        said = f": {reason}" if reason else "."
        return [f"Build {latest.number} ({latest.transition}) {_PAST[latest.status]}{said}"]
    return []


_PAST = {"failed": "failed", "canceled": "was canceled"}


def _decide_state(
    situation: Situation, problems: list[str], steps: list[RepairStep]
) -> tuple[SavedState | None, int | None]:
    """The state to begin with (None: none was ever saved), and its build where it is not the newest."""
    if not situation.states:
        return None, None
    newest, latest = situation.states[0], situation.builds[0]
    usable = next((state for state in situation.states if not state.problem), None)
    is_emptied = (
        not newest.problem
        and not newest.addresses
        and newest.number == latest.number
        and latest.transition == "start"
        and latest.status in ("failed", "canceled")
    )
    if is_emptied:
        usable = next((state for state in situation.states if state.addresses), newest)
    if newest.problem:
        problems.append(f"The state saved with build {newest.number} can't be read: {newest.problem}.")
    elif usable is not newest:
        problems.append(
            f"The state saved with build {newest.number} is empty although there were resources before."
        )
    if usable is None or usable is newest:
        return newest, None
    steps.append(
        RepairStep(
            "restore_state",
            f"The next build begins with the state of build {usable.number}, which holds "
            f"{_count(usable.addresses)}. The state of build {newest.number} is kept there for administrators.",
        )
    )
    return usable, usable.number


def _check_forget(wish: Wish, state: SavedState | None, steps: list[RepairStep]) -> tuple[str, ...]:
    recorded = state.addresses if state else ()
    for address in wish.forget:
        if address not in recorded:
            detail = f'"{address[:200]}" is not recorded. Recorded are: {_show(recorded)}.'
            raise Invalid("The state does not hold that.", validations=[ValidationError("forget", detail)])
        text = (
            f"{address} is struck from the record. It is not removed: where it still exists, nobody looks after "
            "it any more, and a start makes another one."
        )
        steps.append(RepairStep("forget", text))
    return wish.forget


def _check_leaving(situation: Situation, latest: RecentBuild, transition: Transition) -> None:
    if transition != "delete":
        raise BadRequest("Only a delete can leave resources behind; ask for the transition delete.")
    if not situation.is_admin and not (latest.transition == "delete" and latest.status == "failed"):
        raise Forbidden(
            "Leaving resources behind is the last step: delete the workspace first, and if that fails, ask again."
        )


def _describe_leaving(state: SavedState | None) -> str:
    recorded = state.addresses if state else ()
    if state is not None and state.problem:
        stays = "What it has can't be told, since its state can't be read; all of it stays where it is."
    elif recorded:
        stays = f"These stay where they are, and nobody looks after them any more: {_show(recorded)}."
    else:
        stays = "Nothing is recorded, so nothing that is known stays behind."
    return f"The workspace is deleted without Terraform. {stays}"


def _decide_version(situation: Situation, wanted: RepairVersion | None) -> tuple[UUID, str, str]:
    latest = situation.builds[0]
    working = next((one for one in situation.builds if one.status == "succeeded" and one.is_version_usable), None)
    if wanted == "working" and working is None:
        raise BadRequest(
            "No build of this workspace has worked yet; choose the active version or the current one."
        )
    if wanted == "active" or (wanted is None and working is None and not latest.is_version_usable):
        return situation.active_version_id, situation.active_version_name, "the template's active one"
    if working is not None and wanted != "current":
        return working.version_id, working.version_name, "the one that worked last"
    return latest.version_id, latest.version_name, "the workspace's own"


def _list_choices(situation: Situation, latest: RecentBuild) -> tuple[RepairChoice, ...]:
    choices = [RepairChoice("transition", name, f"The build then {text}.") for name, text in _DOES.items()]
    choices += [
        RepairChoice("version", "working", "Build with the version that worked last."),
        RepairChoice("version", "active", f'Build with the active version "{situation.active_version_name}".'),
        RepairChoice("version", "current", f'Build with the version of the last build, "{latest.version_name}".'),
        RepairChoice("forget", "ADDRESS", "Strike a recorded resource that no longer exists and can't be read."),
    ]
    if situation.is_admin or (latest.transition == "delete" and latest.status == "failed"):
        text = "With the transition delete: delete the workspace and leave its resources where they are."
        choices.append(RepairChoice("leave", "true", text))
    return tuple(choices)


def _make_plan(
    situation: Situation,
    wish: Wish,
    problem: str,
    steps: Sequence[RepairStep],
    state: SavedState | None,
    choices: Sequence[RepairChoice],
) -> RepairPlan:
    orphans = list_orphans(situation.builds)
    return RepairPlan(
        id=_digest(situation, wish, steps),
        is_needed=bool(problem),
        problem=problem,
        steps=list(steps),
        needs_consent=wish.leave,
        possible_orphans=orphans,
        orphans_advice=ADVICE if orphans else "",
        recorded=list(state.addresses) if state else [],
        choices=list(choices),
    )


def list_orphans(builds: Sequence[RecentBuild]) -> list[str]:
    """What the builds since the last that worked may have left, each once."""
    names: dict[str, None] = {}
    for build in builds:
        if build.status == "succeeded":
            break
        names.update(dict.fromkeys(build.possible_orphans))
    return list(names)


def _digest(situation: Situation, wish: Wish, steps: Sequence[RepairStep]) -> str:
    latest = situation.builds[0]
    parts = [latest.id, latest.status, latest.is_unattended, situation.states, wish, list(steps)]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _count(addresses: Sequence[str]) -> str:
    return f"{len(addresses)} resource{'' if len(addresses) == 1 else 's'}"


def _show(addresses: Sequence[str]) -> str:
    shown = ", ".join(addresses[:MAX_SHOWN])
    return f"{shown} and {len(addresses) - MAX_SHOWN} more" if len(addresses) > MAX_SHOWN else shown or "nothing"
