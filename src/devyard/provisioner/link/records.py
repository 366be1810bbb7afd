"""What is known of a job on this machine while it runs, so that the provisioner after a killed one can tell of it.

One private directory per job beside its work directory: whose job it is, the last complete state, what was being
made. Written by the running job, removed once its result is stored, read by the next provisioner (lostresults.py).
Invariant: each file is replaced as a whole, so that a kill at any moment leaves the old or the new one.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from devyard.provisioner.results.instances import read_head
from devyard.provisioner.templates.workdir import ERRORED_STATE_FILE, JOB_PREFIX, STATE_FILE
from devyard.wire.provisionerlink import Job

log = structlog.get_logger()

RECORD_PREFIX = "devyard-kept-"
_JOB_FILE = "job.json"
_STATE_FILE = "state.tfstate"
_IN_FLIGHT_FILE = "in-flight.json"


class Owner(msgspec.Struct, frozen=True):
    """Whose job it is. `lost_directory`: where the provisioner that had it looks for lost states."""

    job_id: str
    lease_id: str
    workspace_id: str
    lost_directory: str


class Leftover(msgspec.Struct, frozen=True):
    """A job whose provisioner was killed: its last complete state (may be empty), what was being made."""

    owner: Owner
    state: bytes
    in_flight: tuple[str, ...]


class JobRecord:
    """The record of a job that runs. Make one with `open_record`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._is_failing = False

    def describe(self, owner: Owner) -> None:
        """Says whose job it is. Blocks for the time of a small file, as the others do."""
        self._put(_JOB_FILE, msgspec.json.encode(owner))

    def keep_state(self, state: bytes) -> None:
        """Replaces the state."""
        self._put(_STATE_FILE, state)

    def note_in_flight(self, names: Sequence[str]) -> None:
        """Replaces the names of what is being made."""
        self._put(_IN_FLIGHT_FILE, msgspec.json.encode(names))

    def remove(self) -> None:
        """The job is over and its result stored."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def _put(self, name: str, data: bytes) -> None:
        """A full disk must not end a build: the server has the state too."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            _replace(self._directory / name, data)
        except OSError as error:
            if not self._is_failing:
                log.warning("job_record_not_written", path=str(self._directory), why=str(error))
            self._is_failing = True


def open_record(work_root: Path, job: Job, lost_directory: Path) -> JobRecord:
    """A new record for a job that was taken."""
    record = JobRecord(work_root / f"{RECORD_PREFIX}{job.job_id}")
    record.describe(Owner(str(job.job_id), str(job.lease_id), job.work.context.workspace_id, str(lost_directory)))
    return record


def list_leftovers(work_root: Path) -> Iterator[Leftover]:
    """The jobs that the killed provisioner of `work_root` has not brought to an end."""
    files = [
        file
        for name in (STATE_FILE, ERRORED_STATE_FILE)
        for file in work_root.glob(f"{JOB_PREFIX}*/{name}")
        if not file.is_symlink()
    ]
    for directory in work_root.glob(f"{RECORD_PREFIX}*"):
        owner = _read(directory / _JOB_FILE, Owner)
        if owner is not None:
            state = _find_newest([directory / _STATE_FILE, *files])
            yield Leftover(owner, state, _read(directory / _IN_FLIGHT_FILE, tuple[str, ...]) or ())


def _find_newest(files: Sequence[Path]) -> bytes:
    """The newest complete state of those, of the first one's line; empty where none is complete."""
    best, best_serial, lineage = b"", -1, ""
    for file in files:
        try:
            state = file.read_bytes()
        except OSError:
            continue
        head = read_head(state)
        if head and lineage in ("", head.lineage) and head.serial > best_serial:
            best, best_serial, lineage = state, head.serial, head.lineage
    return best


_T = TypeVar("_T")


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def _replace(path: Path, data: bytes) -> None:
    aside = path.with_suffix(".new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    aside.rename(path)
