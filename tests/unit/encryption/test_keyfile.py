"""The file of the keys: made once, private, whole, and never quoted."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devyard.server.encryption.keyfile import (
    KeysError,
    make_key_file,
    parse_keys,
    read_key_file,
    replace_key_file,
)
from devyard.server.options import OptionError
from devyard.server.settings import load_settings

KEY = os.urandom(32)
TEXT = base64.b64encode(KEY).decode()


def test_lines_commas_comments_and_both_alphabets() -> None:
    other = os.urandom(32)
    text = f"# a comment\n{TEXT} # another\n\n{base64.urlsafe_b64encode(other).decode()},{TEXT}\n"
    assert parse_keys(text, "x") == [KEY, other]


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", TEXT[:-8], f"{TEXT}\nhunter2hunter2", "\x00" * 64],
    ids=["empty", "comment", "short", "second line", "zeros"],  # never the key: it differs in each worker
)
def test_what_is_wrong_is_named_but_not_quoted(text: str) -> None:
    with pytest.raises(KeysError) as caught:
        parse_keys(text, "the file")
    assert str(caught.value).startswith("the file: ")
    assert TEXT[:12] not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_many_servers_that_start_together_make_one_key(tmp_path: Path) -> None:
    path = tmp_path / "data" / "encryption.keys"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: make_key_file(path), range(8)))
    assert {tuple(keys) for keys in made} == {tuple(read_key_file(path))}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["encryption.keys"]


def test_a_replaced_file_is_never_more_open_than_before(tmp_path: Path) -> None:
    path = tmp_path / "encryption.keys"
    (old,) = make_key_file(path)
    for before, after in ((0o600, 0o600), (0o640, 0o640), (0o666, 0o640)):
        path.chmod(before)
        replace_key_file(path, [KEY, old])
        assert stat.S_IMODE(path.stat().st_mode) == after
    assert read_key_file(path) == [KEY, old]
    assert os.listdir(tmp_path) == ["encryption.keys"]


def test_a_key_on_the_command_line_is_refused_and_not_shown() -> None:
    with pytest.raises(OptionError) as caught:
        load_settings({"encryption_keys": TEXT}, {})
    assert TEXT not in str(caught.value)
    assert load_settings({}, {"DEVYARD_ENCRYPTION_KEYS": TEXT}).settings.encryption_keys == TEXT
