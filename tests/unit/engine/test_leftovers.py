"""What a killed provisioner left in memory is cleared away by the next, and its jobs are offered to the server."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.link.lostresults import KILLED, MAX_FILES, Offers, keep_lost_result
from devyard.provisioner.link.records import JobRecord, open_record
from devyard.provisioner.templates.workdir import JOB_PREFIX, STATE_FILE
from devyard.wire.provisionerlink import Failed, Job

ORPHAN = "a.b (being created)"


def state(serial: int, lineage: str = "abc") -> bytes:
    return json.dumps({"version": 4, "serial": serial, "lineage": lineage}).encode()


def make_job(workspace_id: str = "w") -> Job:
    context = SimpleNamespace(context=SimpleNamespace(workspace_id=workspace_id))
    return cast(Job, SimpleNamespace(job_id=uuid4(), lease_id=uuid4(), work=context))


def leave(parent: Path, lost: Path, job: Job, **files: bytes) -> JobRecord:
    """A directory as a provisioner leaves it that was killed in a build."""
    root = parent / f"devyard-provisioner-{job.job_id}"
    work = root / f"{JOB_PREFIX}1"
    work.mkdir(parents=True)
    if "terraform" in files:
        (work / STATE_FILE).write_bytes(files["terraform"])
    record = open_record(root, job, lost)
    record.note_in_flight((ORPHAN,))
    if "kept" in files:
        record.keep_state(files["kept"])
    return record


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, b""),
        ({"terraform": state(7)}, state(7)),
        ({"terraform": state(7)[:9], "kept": state(6)}, state(6)),
        ({"terraform": b"", "kept": state(6)}, state(6)),
        ({"terraform": state(8), "kept": state(6)}, state(8)),
        ({"terraform": state(5), "kept": state(6)}, state(6)),
        ({"terraform": state(9, "other"), "kept": state(6)}, state(6)),
    ],
)
def test_the_newest_complete_state_of_a_killed_job_is_offered(
    tmp_path: Path, files: dict[str, Any], found: bytes
) -> None:
    lost, job = tmp_path / "lost", make_job()
    leave(tmp_path, lost, job, **files)
    with open_work_root(tmp_path) as first, open_work_root(tmp_path) as second:
        assert first.is_dir(), "the directory of a living provisioner is left alone"
        assert second.is_dir()
        assert len(list(tmp_path.glob("devyard-provisioner-*"))) == 2
    offers = Offers(lost)
    (offer,) = offers.take()
    assert (offer.job_id, offer.lease_id) == (job.job_id, job.lease_id)
    assert (offer.state, offer.error, offer.possible_orphans) == (found, KILLED, (ORPHAN,))
    assert offers.take() == [], "once a connection"
    offers.restart()
    assert offers.take() == [offer]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in lost.iterdir())
    assert lost.stat().st_mode & 0o777 == 0o700
    assert offers.settle(offer.job_id, "")
    assert list(lost.iterdir()) == []


def test_a_job_that_is_cut_short_is_offered_by_the_next(tmp_path: Path) -> None:
    lost, job = tmp_path / "lost", make_job()
    with open_work_root(tmp_path) as root:
        open_record(root, job, lost).keep_state(state(3))
        open_record(root, make_job(), lost).remove()
    (offer,) = Offers(lost).take()
    assert (offer.job_id, offer.state) == (job.job_id, state(3))


def test_a_refused_state_stays_and_is_not_offered_again(tmp_path: Path) -> None:
    job = make_job()
    failed = Failed(job_id=job.job_id, lease_id=job.lease_id, seq=1, error="boom", state=state(4))
    kept = keep_lost_result(tmp_path, job, failed, "the lease is gone")
    assert kept is not None
    offers = Offers(tmp_path)
    (offer,) = offers.take()
    assert offer.error == "boom"
    assert not offers.settle(uuid4(), "")
    assert offers.settle(job.job_id, "another build has begun")
    offers.restart()
    assert offers.take() == []
    assert kept.read_bytes() == state(4)


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    for _ in range(MAX_FILES + 3):
        job = make_job(str(UUID(int=1)))
        failed = Failed(job_id=job.job_id, lease_id=job.lease_id, seq=1, error="boom", state=state(4))
        keep_lost_result(tmp_path, job, failed, "why")
    assert len(list(tmp_path.glob("*.json"))) == MAX_FILES
    assert len(list(tmp_path.glob("*.tfstate"))) == MAX_FILES


def test_a_full_disk_does_not_end_the_job(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    record = open_record(tmp_path / "file", make_job(), tmp_path)
    record.keep_state(state(1))
    record.remove()
