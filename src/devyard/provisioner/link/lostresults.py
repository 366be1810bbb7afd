"""States that the server did not take: kept in files, so that an administrator can still use them.

Written by the session when a result is refused or can't be delivered before the provisioner ends. Invariant: at
most `MAX_FILES` stay, the newest; only the owner can read them.
"""

import os
from pathlib import Path

from devyard.provisioner.jobs.run import Result
from devyard.wire.provisionerlink import BuildDone, Failed, Job

MAX_FILES = 50


def keep_lost_state(directory: Path, job: Job, result: Result) -> Path | None:
    """Writes the state of a result that the server will not get; None where it has none."""
    state = result.state if isinstance(result, BuildDone | Failed) else b""
    if not state:
        return None
    name = f"{job.work.context.workspace_id or 'none'}-{job.job_id}"
    return write_lost_state(directory, name.replace("/", "-"), state)


def write_lost_state(directory: Path, name: str, state: bytes) -> Path:
    """Writes a state into `directory`; `name` without suffix."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{name}.tfstate"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(state)
        file.flush()
        os.fsync(file.fileno())
    files = sorted(directory.glob("*.tfstate"), key=lambda found: found.stat().st_mtime)
    for old in files[:-MAX_FILES]:
        old.unlink(missing_ok=True)
    return path
