from pathlib import Path

import pytest

from devyard.agent.environment import child_environment, expand_path, expand_variables, working_directory
from devyard.agent.settings import SettingsError, read_settings
from tests.e2e.agent.peers import make_manifest

BASE = {"CODER_AGENT_URL": "http://s:1/", "CODER_AGENT_TOKEN": "t0k", "HOME": "/h", "PATH": "/bin"}


def test_variables_have_our_own_names_as_well() -> None:
    settings = read_settings({"DEVYARD_AGENT_URL": "https://x/", "DEVYARD_AGENT_TOKEN": "a", "HOME": "/h"})
    assert (settings.url, settings.token, settings.state_dir) == ("https://x", "a", Path("/h/.devyard"))


def test_token_file_wins_over_the_token_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_settings({**BASE, "CODER_AGENT_TOKEN_FILE": str(file)}).token == "from-file"


@pytest.mark.parametrize(
    "changes", [{"CODER_AGENT_URL": "ftp://x"}, {"CODER_AGENT_TOKEN": "a\r\nb"}, {"CODER_AGENT_TOKEN": ""}]
)
def test_unusable_values_are_named(changes: dict[str, str]) -> None:
    name = next(iter(changes)).removeprefix("CODER_AGENT_").lower()
    with pytest.raises(SettingsError, match=rf"(?i)CODER_AGENT_{name}|agent {name}"):
        read_settings({**BASE, **changes})


def test_child_environment() -> None:
    settings = read_settings({**BASE, "DEVYARD_AGENT_TOKEN": "other", "KEPT": "1"}, script_data_dir="/data")
    manifest = make_manifest(
        environment={"PATH": "/opt/bin:$PATH", "WHO": "${CODER_WORKSPACE_OWNER_NAME}", "B=D": "x"}
    )
    environment = child_environment(settings, manifest)
    assert environment["PATH"] == "/opt/bin:/data/coder-script-data/bin:/bin"
    assert environment["WHO"] == "ada"
    assert environment["KEPT"] == "1"
    assert environment["CODER_AGENT_TOKEN"] == "t0k"
    assert "DEVYARD_AGENT_TOKEN" not in environment
    assert "B=D" not in environment
    assert environment["GIT_COMMITTER_NAME"] == "Ada L."


def test_paths_are_expanded(tmp_path: Path) -> None:
    variables = {"X": "deep"}
    assert expand_path("~/a", tmp_path, variables) == tmp_path / "a"
    assert expand_path("$HOME/${X}", tmp_path, variables) == tmp_path / "deep"
    assert expand_path("rel", tmp_path, variables) == tmp_path / "rel"
    assert expand_path("/abs", tmp_path, variables) == Path("/abs")
    assert expand_variables("$ $1 $X", variables) == "$ $1 deep"


def test_a_missing_directory_falls_back_to_home(tmp_path: Path) -> None:
    settings = read_settings({**BASE, "HOME": str(tmp_path)})
    assert working_directory(settings, make_manifest(directory="~/gone"), {}) == tmp_path
    (tmp_path / "here").mkdir()
    assert working_directory(settings, make_manifest(directory="~/here"), {}) == tmp_path / "here"
