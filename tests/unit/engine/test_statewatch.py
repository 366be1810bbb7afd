import json
from pathlib import Path

from devyard.provisioner.jobs.statewatch import StateWatch
from devyard.provisioner.templates.workdir import ERRORED_STATE_FILE, STATE_FILE


def state(serial: int, lineage: str = "l", text: str = "") -> bytes:
    return json.dumps({"version": 4, "serial": serial, "lineage": lineage, "text": text}).encode()


class Watched:
    def __init__(self, directory: Path, prior: bytes) -> None:
        self.saved: list[bytes] = []
        self.kept: list[bytes] = []
        self.path = directory / STATE_FILE
        self.watch = StateWatch(directory, prior, self.kept.append, self.saved.append)

    async def write(self, data: bytes) -> None:
        self.path.write_bytes(data)
        await self.watch.look(STATE_FILE)


async def test_only_complete_newer_states_of_the_lineage_are_saved(tmp_path: Path) -> None:
    watched = Watched(tmp_path, state(3))
    for data in (state(3), b"", state(5)[:-4], state(4, "other"), state(2)):
        await watched.write(data)
    assert watched.saved == []
    assert not watched.watch.is_newer
    await watched.write(state(4))
    await watched.write(state(5, text="more"))
    assert watched.saved == [state(4), state(5, text="more")]


async def test_first_state_of_a_workspace_sets_the_lineage(tmp_path: Path) -> None:
    watched = Watched(tmp_path, b"")
    await watched.watch.look(STATE_FILE)
    await watched.write(state(1, "new"))
    await watched.write(state(9, "other"))
    assert watched.saved == [state(1, "new")]


async def test_torn_file_at_the_end_leaves_the_last_complete_one(tmp_path: Path) -> None:
    watched = Watched(tmp_path, state(1))
    await watched.write(state(2))
    watched.path.write_bytes(state(3)[:10])
    assert await watched.watch.finish() == state(2)
    assert watched.watch.is_newer


async def test_state_that_terraform_could_not_write_in_place(tmp_path: Path) -> None:
    watched = Watched(tmp_path, state(1))
    await watched.write(state(2))
    (tmp_path / ERRORED_STATE_FILE).write_bytes(state(4))
    assert await watched.watch.finish() == state(4)
    assert watched.saved == [state(2)]
