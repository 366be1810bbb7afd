"""Repair of a workspace: what is wrong, what will be done about it in plain sentences, and the consent to that."""

from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.enums import Transition

RepairAction = Literal["give_up", "restore_state", "forget", "build", "leave"]
RepairVersion = Literal["working", "active", "current"]


class RepairStep(msgspec.Struct, frozen=True):
    """One thing that will be done, in a sentence."""

    action: RepairAction
    description: str


class RepairChoice(msgspec.Struct, frozen=True):
    """Something else that could be asked for: a parameter of the request and a value of it."""

    parameter: str
    value: str
    description: str


class RepairPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair would do now. `id` stands for all of it: a changed situation has another one."""

    id: str
    is_needed: bool
    problem: str
    steps: list[RepairStep]
    needs_consent: bool = False
    """Resources would be left behind: the request has to say `accepts_leaving`."""
    possible_orphans: list[str] = []
    orphans_advice: str = ""
    recorded: list[str] = []
    """Addresses in the state that the repair begins with."""
    transition: Transition | msgspec.UnsetType = msgspec.UNSET
    template_version_id: UUID | msgspec.UnsetType = msgspec.UNSET
    choices: list[RepairChoice] = []


class RepairRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Do exactly what the plan `plan_id` says; the wishes are those that the plan was asked for with."""

    plan_id: str
    transition: Transition | None = None
    version: RepairVersion | None = None
    forget: list[str] = []
    leave: bool = False
    accepts_leaving: bool = False
