"""Ranges of ids and the records of homes."""

from pathlib import Path

import pytest

from devyard.provisioner.provider.sandboxes import SandboxError
from devyard.provisioner.sandbox import homes
from devyard.provisioner.sandbox.homes import FIRST_ID, IDS_PER_HOME, RANGES, Homes


@pytest.fixture
def store(tmp_path: Path) -> Homes:
    made = Homes(tmp_path, has_own_ids=False)
    made.make_directories()
    return made


def test_ranges_lie_where_nobody_else_takes_ids() -> None:
    assert FIRST_ID > 2_000_200_000
    assert FIRST_ID + RANGES * IDS_PER_HOME < 2**31
    assert RANGES > 30_000


def test_no_range_is_given_twice(store: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "RANGES", 4)
    bases = [store.take_range(name) for name in ("a", "b", "c", "d")]
    assert len({base // IDS_PER_HOME for base in bases}) == 4
    assert all((base - FIRST_ID) % IDS_PER_HOME == 0 for base in bases)
    with pytest.raises(SandboxError, match="All 4 ranges"):
        store.take_range("e")
    store.free_range(bases[2])
    assert store.take_range("e") == bases[2]


def test_a_home_is_made_once(store: Homes, tmp_path: Path) -> None:
    one = store.create("home", "main")
    (store.path("home") / "x").touch()
    assert store.create("home", "other") == one
    assert (store.path("home") / "x").exists()
    assert store.path("home").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "homes").iterdir()] == ["home"]


async def test_deletion_frees_the_range_and_leaves_no_trash(store: Homes, tmp_path: Path) -> None:
    store.create("home", "main")
    (store.path("home") / "deep" / "er").mkdir(parents=True)
    await store.delete("home")
    await store.delete("home")
    assert store.load("home") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "trash").iterdir()) == []


def test_a_damaged_record_is_named(store: Homes, tmp_path: Path) -> None:
    store.create("home", "main")
    (tmp_path / "homes" / "home" / "home.json").write_text("{")
    with pytest.raises(SandboxError, match="record of home home is damaged"):
        store.load("home")
