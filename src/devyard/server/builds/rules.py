"""Pure decisions about builds: a workspace's status, a build's parameter values, Terraform states, deadlines.

Called by the actions of builds and workspaces. Invariant: no I/O, no clock; the same input, the same answer.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from devyard.wire.enums import JobStatus, Transition, WorkspaceStatus
from devyard.wire.errors import Invalid, ValidationError
from devyard.wire.parameters import ParameterDefinition, check_parameter_change, check_parameter_value
from devyard.wire.templates import ParameterValue

STATE_VERSION = 4
MAX_STATE_BYTES = 24 << 20
MAX_ERROR_CHARS = 16 * 1024
_ORPHANS_TEXT = (
    "\nThese resources may exist although the state does not know them; look for them and remove them by hand: "
)

_RUNNING: Mapping[Transition, WorkspaceStatus] = {"start": "starting", "stop": "stopping", "delete": "deleting"}
_DONE: Mapping[Transition, WorkspaceStatus] = {"start": "running", "stop": "stopped", "delete": "deleted"}


def decide_status(transition: Transition, job_status: JobStatus) -> WorkspaceStatus:
    """A workspace's status from its latest build."""
    if job_status == "running":
        return _RUNNING[transition]
    if job_status == "succeeded":
        return _DONE[transition]
    if job_status in ("pending", "canceling", "canceled"):
        return job_status
    return "failed"


def decide_parameters(
    definitions: Sequence[ParameterDefinition],
    given: Sequence[ParameterValue],
    previous: Mapping[str, str] | None,
    transition: Transition,
) -> dict[str, str]:
    """The values of a build: those given, else the last build's, else the defaults.

    `previous` is None for a workspace's first build. Stopping and deleting take what there is: a template that
    asks for more must not keep a workspace from being stopped.

    Raises:
        Invalid: with one validation for each parameter that is unknown, missing or refused.
    """
    problems = _find_unknown(definitions, given)
    wanted = {value.name: value.value for value in given}
    values: dict[str, str] = {}
    for definition in definitions:
        before = None if definition.ephemeral else (previous or {}).get(definition.name)
        value = wanted.get(definition.name, before)
        is_checked = transition == "start" or definition.name in wanted
        if is_checked and (message := _check_value(definition, value, before)):
            problems.append(ValidationError(field=definition.name, detail=message))
        elif value is not None:
            values[definition.name] = value
        elif not definition.required:
            values[definition.name] = definition.default_value
    if problems:
        raise Invalid("Some parameter values can't be used.", validations=problems)
    return values


def decide_kept_parameters(
    definitions: Sequence[ParameterDefinition], values: Mapping[str, str]
) -> dict[str, str]:
    """What of a build's values the next build may start from: everything but ephemeral ones."""
    ephemeral = {definition.name for definition in definitions if definition.ephemeral}
    return {name: value for name, value in values.items() if name not in ephemeral}


def decide_deadline(transition: Transition, ttl_ms: int | None, completed_at: datetime) -> datetime | None:
    """When a started workspace stops by itself, or None for never."""
    if transition != "start" or not ttl_ms:
        return None
    return completed_at + timedelta(milliseconds=ttl_ms)


class StateHead(msgspec.Struct, frozen=True):
    """What identifies a Terraform state (format 4): which line of states, and how far along."""

    version: int
    serial: int
    lineage: str


def read_state(state: bytes) -> StateHead:
    """The head of a state.

    Raises:
        Invalid: the bytes are no Terraform state of format 4.
    """
    if len(state) > MAX_STATE_BYTES:
        raise Invalid(f"The state has {len(state)} bytes; at most {MAX_STATE_BYTES} can be kept.")
    try:
        head = msgspec.json.decode(state, type=StateHead)
    except msgspec.MsgspecError as error:
        raise Invalid("This is no Terraform state.", detail=str(error)) from None
    if head.version != STATE_VERSION:
        raise Invalid(f"Terraform states of format {STATE_VERSION} are supported, not {head.version}.")
    return head


def check_successor(head: StateHead, lineage: str, serial: int, *, allow_equal: bool = False) -> str | None:
    """Why a state may not follow the one kept (`lineage` empty: none is), or None."""
    if not lineage:
        return None
    if head.lineage != lineage:
        return f"The state belongs to another line ({head.lineage}) than the workspace's ({lineage})."
    if head.serial < serial or (head.serial == serial and not allow_equal):
        return f"The state's serial {head.serial} is not newer than the one kept ({serial})."
    return None


def describe_failure(error: str, possible_orphans: Sequence[str]) -> str:
    """The error of a failed build, bounded and storable, with what may have been left behind."""
    error = error.replace("\0", "")[:MAX_ERROR_CHARS]
    if not possible_orphans:
        return error
    shown = ", ".join(name.replace("\0", "")[:300] for name in possible_orphans[:20])
    more = f" and {len(possible_orphans) - 20} more" if len(possible_orphans) > 20 else ""
    return f"{error}{_ORPHANS_TEXT}{shown}{more}"


def describe_failure_anew(
    error: str, possible_orphans: Sequence[str], recorded: Collection[str]
) -> tuple[str, list[str]]:
    """The error of a failed build and what it may have left, once a state with these addresses was found."""
    left = [name for name in possible_orphans if name.partition(" (")[0] not in recorded]
    return describe_failure(error.partition(_ORPHANS_TEXT)[0], left), left


def _find_unknown(
    definitions: Sequence[ParameterDefinition], given: Sequence[ParameterValue]
) -> list[ValidationError]:
    known = {definition.name for definition in definitions}
    problems = []
    seen: set[str] = set()
    for value in given:
        if value.name not in known:
            has = ", ".join(sorted(known)) or "none at all"
            detail = f'The template version has no parameter "{value.name[:100]}"; it has: {has}.'
            problems.append(ValidationError(field=value.name[:100], detail=detail))
        elif value.name in seen:
            problems.append(ValidationError(field=value.name, detail="The parameter is given twice."))
        seen.add(value.name)
    return problems


def _check_value(definition: ParameterDefinition, value: str | None, before: str | None) -> str | None:
    if message := check_parameter_value(definition, value, before):
        return message
    return None if value is None else check_parameter_change(definition, value, before)
