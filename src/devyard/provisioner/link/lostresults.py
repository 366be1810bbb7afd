"""What the server did not get of a job: kept in files, offered to it again, and left there for administrators.

Written by the session when a result is refused or can't be delivered, and by the daemon for jobs of a provisioner
that was killed. Each is a Terraform state (`*.tfstate`, where there is one) with a description (`*.json`).
Invariant: at most `MAX_FILES` stay, the newest; only the owner can read them; what the server took is removed.
"""

import os
from pathlib import Path
from uuid import UUID

import msgspec

from devyard.provisioner.jobs.run import Result
from devyard.provisioner.link.records import Leftover
from devyard.wire.provisionerlink import MAX_MESSAGE_BYTES, BuildDone, Failed, Job, LostState

MAX_FILES = 50
_ROOM_BYTES = 256 << 10
KILLED = (
    "The provisioner that ran this job was killed, or its machine stopped. The last state that it had written was "
    "found and kept. Try again."
)


class Description(msgspec.Struct, frozen=True):
    """What is known of a lost job beside its state. `refused`: why the server did not take it."""

    job_id: UUID
    lease_id: UUID
    error: str = ""
    possible_orphans: tuple[str, ...] = ()
    refused: str = ""


def keep_lost_result(directory: Path, job: Job, result: Result, why: str) -> Path | None:
    """Writes down a result that the server will not get now; the state's path, None where it has none."""
    state = result.state if isinstance(result, BuildDone | Failed) else b""
    error = result.error if isinstance(result, Failed) else f"The job's result could not be stored: {why}."
    orphans = result.possible_orphans if isinstance(result, Failed) else ()
    name = f"{job.work.context.workspace_id or 'none'}-{job.job_id}"
    return _write(directory, name, state, Description(job.job_id, job.lease_id, error, orphans))


def keep_leftover(leftover: Leftover) -> Path | None:
    """Writes down a job whose provisioner was killed, where its next life looks; the state's path."""
    owner = leftover.owner
    described = Description(UUID(owner.job_id), UUID(owner.lease_id), KILLED, leftover.in_flight)
    name = f"{owner.workspace_id or 'none'}-{owner.job_id}"
    return _write(Path(owner.lost_directory), name, leftover.state, described)


class Offers:
    """The lost jobs in `directory`, each offered to the server once a connection."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._offered: dict[UUID, Path] = {}

    def restart(self) -> None:
        """On a new connection everything is offered again."""
        self._offered.clear()

    def take(self) -> list[LostState]:
        """What is to be offered now. Blocks for the time of a few small files."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            described = _read(path)
            if described is None or described.refused or described.job_id in self._offered:
                continue
            state = _read_state(path)
            if len(state) > MAX_MESSAGE_BYTES - _ROOM_BYTES:
                continue
            self._offered[described.job_id] = path
            found.append(
                LostState(
                    described.job_id,
                    described.lease_id,
                    0,
                    state,
                    described.error,
                    described.possible_orphans,
                )
            )
        return found

    def settle(self, job_id: UUID, refusal: str) -> bool:
        """The server's answer: what it took is removed, what it refused stays. False: it was no offer."""
        path = self._offered.get(job_id)
        described = _read(path) if path else None
        if path is None or described is None:
            return False
        if refusal and path.with_suffix(".tfstate").exists():
            _put(path, msgspec.json.encode(msgspec.structs.replace(described, refused=refusal)))
        else:
            path.with_suffix(".tfstate").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return True


def _write(directory: Path, name: str, state: bytes, described: Description) -> Path | None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = directory / name.replace("/", "-")
    path = base.with_suffix(".tfstate")
    if state:
        _put(path, state)
    _put(base.with_suffix(".json"), msgspec.json.encode(described))
    files = sorted(directory.glob("*.json"), key=lambda found: found.stat().st_mtime)
    for old in files[:-MAX_FILES]:
        old.with_suffix(".tfstate").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return path if state else None


def _put(path: Path, data: bytes) -> None:
    aside = path.with_name(f"{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)


def _read(path: Path) -> Description | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Description)
    except (OSError, msgspec.MsgspecError):
        return None


def _read_state(path: Path) -> bytes:
    try:
        return path.with_suffix(".tfstate").read_bytes()
    except OSError:
        return b""
