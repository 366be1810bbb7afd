"""Template directories: the same content is the same bytes, nothing unwanted in, nothing out of place."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from devyard.cli.failures import CommandFailed
from devyard.cli.templates.archive import pack_directory, unpack_archive
from devyard.cli.templates.ignorefile import IgnoreRules


def make_template(root: Path, files: dict[str, str]) -> Path:
    for name, content in {"main.tf": "# hello", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def list_names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_the_same_content_is_the_same_archive(tmp_path: Path) -> None:
    first = make_template(tmp_path / "a", {"x/y.sh": "1", "b.txt": "2"})
    second = make_template(tmp_path / "b", {"b.txt": "2", "x/y.sh": "1"})
    os.utime(second / "main.tf", (1, 1))
    (first / "x" / "y.sh").chmod(0o700)
    (second / "x" / "y.sh").chmod(0o755)
    (second / "b.txt").chmod(0o600)
    assert pack_directory(first) == pack_directory(second)
    assert list_names(pack_directory(first)) == ["b.txt", "main.tf", "x/y.sh"]


def test_terraforms_leavings_and_secrets_stay_at_home(tmp_path: Path) -> None:
    files = {
        ".terraform/providers/p": "x",
        ".terraform.lock.hcl": "kept",
        "terraform.tfstate": "secret",
        "a/terraform.tfstate.backup": "secret",
        ".git/config": "x",
        ".terraformignore": "*.log\n/docs/\n!keep.log\n",
        "a/b.log": "x",
        "keep.log": "x",
        "docs/x.md": "x",
        "a/docs/x.md": "kept",
    }
    assert list_names(pack_directory(make_template(tmp_path, files))) == [
        ".terraform.lock.hcl",
        "keep.log",
        "main.tf",
        "a/docs/x.md",
    ]


@pytest.mark.parametrize(
    ("pattern", "path", "is_directory", "ignored"),
    [
        ("*.log", "a/b.log", False, True),
        ("/a.log", "b/a.log", False, False),
        ("a/b", "a/b", False, True),
        ("a/b", "x/a/b", False, False),
        ("a/**/z", "a/z", False, True),
        ("a/**/z", "a/b/c/z", False, True),
        ("**/z", "z", False, True),
        ("a/**", "a/b/c", False, True),
        ("docs/", "docs", False, False),
        ("docs/", "x/docs", True, True),
        ("a?c", "abc", False, True),
        ("a?c", "a/c", False, False),
        ("a.c", "abc", False, False),
    ],
)
def test_ignore_patterns(pattern: str, path: str, is_directory: bool, ignored: bool) -> None:
    assert IgnoreRules([pattern]).ignores(path, is_directory=is_directory) is ignored


def test_links_may_not_lead_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    template = make_template(tmp_path / "t", {"real.txt": "inside"})
    (template / "inside.txt").symlink_to("real.txt")
    assert "inside.txt" in list_names(pack_directory(template))
    (template / "leak.txt").symlink_to(secret)
    with pytest.raises(CommandFailed, match="leads out of the template"):
        pack_directory(template)


def test_what_is_no_template_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(CommandFailed, match=r"no \.tf file"):
        pack_directory(tmp_path)
    with pytest.raises(CommandFailed, match="no directory"):
        pack_directory(tmp_path / "none")
    monkeypatch.setattr("devyard.cli.templates.archive.MAX_BYTES", 10)
    with pytest.raises(CommandFailed, match="larger than"):
        pack_directory(make_template(tmp_path / "big", {"x": "y" * 20}))


def test_there_and_back(tmp_path: Path) -> None:
    template = make_template(tmp_path / "t", {"x/run.sh": "#!/bin/sh"})
    (template / "x" / "run.sh").chmod(0o755)
    data = pack_directory(template)
    target = tmp_path / "out"
    assert unpack_archive(data, target, overwrites=False) == ["main.tf", "x/run.sh"]
    assert os.access(target / "x" / "run.sh", os.X_OK)
    with pytest.raises(CommandFailed, match="is there already"):
        unpack_archive(data, target, overwrites=False)
    unpack_archive(data, target, overwrites=True)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_an_archive_can_not_escape(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member_name in ("fine", name):
            member = tarfile.TarInfo(member_name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(CommandFailed, match="no plain file inside"):
        unpack_archive(buffer.getvalue(), tmp_path / "out", overwrites=True)
    assert not (tmp_path / "out").exists()


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc"
        tar.addfile(link)
    with pytest.raises(CommandFailed, match="no plain file"):
        unpack_archive(buffer.getvalue(), tmp_path / "out", overwrites=True)
