"""The two files that editors share with the CLI."""

import stat
from pathlib import Path

import pytest

from devyard.sdk.session import Session, default_config_dir, forget_session, read_session, write_session


def test_plain_files_that_only_the_owner_reads(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    write_session(str(directory), Session("https://x", "secret"))
    assert (directory / "url").read_text() == "https://x"
    assert (directory / "session").read_text() == "secret"
    assert stat.S_IMODE((directory / "session").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(p.name for p in directory.iterdir()) == ["session", "url"]
    assert read_session(str(directory)) == Session("https://x", "secret")
    forget_session(str(directory))
    forget_session(str(directory))
    assert read_session(str(directory)) == Session("", "")


def test_files_of_editors_may_end_in_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://x\n")
    (tmp_path / "session").write_text("secret\n")
    assert read_session(str(tmp_path)) == Session("https://x", "secret")


def test_where_the_directory_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert default_config_dir({}) == "/home/ada/.config/devyard"
    assert default_config_dir({"XDG_CONFIG_HOME": "/x"}) == "/x/devyard"
    assert default_config_dir({"CODER_CONFIG_DIR": "~/c", "XDG_CONFIG_HOME": "/x"}) == "/home/ada/c"
    assert default_config_dir({"DEVYARD_CONFIG_DIR": "/d", "CODER_CONFIG_DIR": "/c"}) == "/d"
