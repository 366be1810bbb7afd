"""The directory in which one job's Terraform runs: the template's files, the state, the variables' values.

Made and removed by the job. Invariant: it is private to the job and its owner, and is gone when the job has
ended; only `.terraform` is shared with other jobs of the version.
"""

import os
import shutil
import tempfile
from pathlib import Path

from devyard.provisioner.templates.cache import Template

STATE_FILE = "terraform.tfstate"
ERRORED_STATE_FILE = "errored.tfstate"
JOB_PREFIX = "devyard-job-"
VALUES_FILE = "devyard-values.tfvars"
_SKIPPED = (".terraform", STATE_FILE, f"{STATE_FILE}.backup", ERRORED_STATE_FILE, VALUES_FILE)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # mkdtemp makes a private directory there
_ENOUGH_BYTES = 512 << 20


def find_fast_directory(fallback: Path) -> Path:
    """Memory where there is enough and scripts may run: a state file is then seldom seen half written."""
    try:
        stats = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return fallback
    is_usable = os.access(_SHARED_MEMORY, os.W_OK) and not stats.f_flag & os.ST_NOEXEC
    return _SHARED_MEMORY if is_usable and stats.f_bavail * stats.f_frsize >= _ENOUGH_BYTES else fallback


def make_work_directory(parent: Path, template: Template, state: bytes, values: str) -> Path:
    """A fresh directory for a job under `parent`."""
    directory = Path(tempfile.mkdtemp(prefix=JOB_PREFIX, dir=parent))
    try:
        shutil.copytree(
            template.files,
            directory,
            symlinks=True,
            dirs_exist_ok=True,
            ignore=lambda path, _: _SKIPPED if Path(path) == template.files else (),
        )
        if template.data:
            (directory / ".terraform").symlink_to(template.data)
        directory.chmod(0o700)  # copytree took the mode of the template's
        (directory / VALUES_FILE).write_text(values)
        if state:
            (directory / STATE_FILE).write_bytes(state)
    except BaseException:
        remove_work_directory(directory)
        raise
    return directory


def remove_work_directory(directory: Path) -> None:
    """Removes it with all in it; files that a template made unremovable are left and only waste space."""
    shutil.rmtree(directory, ignore_errors=True)
