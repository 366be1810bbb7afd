"""What a killed provisioner left in memory is cleared away by the next, and its states are not."""

import json
from pathlib import Path

from devyard.provisioner.daemon import open_work_root
from devyard.provisioner.templates.workdir import JOB_PREFIX, STATE_FILE


def leave(parent: Path, name: str, state: bytes) -> Path:
    """A directory as a provisioner leaves it that was killed in a build."""
    directory = parent / f"devyard-prov-{name}" / f"{JOB_PREFIX}1"
    directory.mkdir(parents=True)
    (directory / STATE_FILE).write_bytes(state)
    return directory.parent


def test_leftovers_go_and_states_stay(tmp_path: Path) -> None:
    state = json.dumps({"version": 4, "serial": 7, "lineage": "abc"}).encode()
    left, torn = leave(tmp_path, "left", state), leave(tmp_path, "torn", state[:9])
    lost = tmp_path / "lost"
    with open_work_root(tmp_path, lost) as first, open_work_root(tmp_path, lost) as second:
        assert first.is_dir(), "the directory of a living provisioner is left alone"
        assert second.is_dir()
        assert not left.exists()
        assert not torn.exists()
    assert [file.name for file in lost.iterdir()] == ["left-abc-7.tfstate"]
    assert (lost / "left-abc-7.tfstate").read_bytes() == state
    assert not first.exists()
