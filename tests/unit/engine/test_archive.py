import io
import tarfile
from pathlib import Path

import pytest

from devyard.provisioner.templates.archive import ArchiveError, Limits, unpack_archive


def entry(name: str, data: bytes = b"x", **values: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    info.size = len(data) if info.isfile() else 0
    return info, data


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=tarfile.SYMTYPE, linkname=target)


def unpack(tmp_path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w", **limits: int) -> Path:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    target = tmp_path / "target"
    target.mkdir()
    unpack_archive(archive, target, Limits(**limits))
    return target


def test_files_directories_links_and_modes(tmp_path: Path) -> None:
    target = unpack(
        tmp_path,
        entry("./", b"", type=tarfile.DIRTYPE),
        entry("./main.tf", b"one"),
        entry("sub/run.sh", b"#!/bin/sh", mode=0o4777),
        link("sub/up", "../main.tf"),
        entry("main.tf", b"two"),
        mode="w:gz",
    )
    assert (target / "main.tf").read_text() == "two"
    assert (target / "sub/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (target / "sub/up").read_text() == "two"


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../out", "a\\..\\..\\out", ".."])
def test_names_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="outside"):
        unpack(tmp_path, entry(name))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [link("l", "/etc/passwd")],
        [link("l", "../x")],
        [link("a/b", "../../x")],
        [entry("a/b/f"), link("a/b/up", "../.."), link("l", "a/b/up/../x")],
        [entry("a/f"), link("d", "a/.."), link("d/e", "../x")],
    ],
)
def test_links_outside(tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with pytest.raises(ArchiveError):
        unpack(tmp_path, *entries)


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError):
        unpack(tmp_path, entry("real/f", b"a"), link("l", "real"), entry("l/f", b"through"))
    assert (tmp_path / "target/real/f").read_text() == "a"


@pytest.mark.parametrize("type_", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_other_kinds(tmp_path: Path, type_: bytes) -> None:
    with pytest.raises(ArchiveError, match="neither a file"):
        unpack(tmp_path, entry("x", b"", type=type_, linkname="y"))


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, b"", type=tarfile.LNKTYPE, linkname=target)


def test_hard_links_become_files_of_their_own(tmp_path: Path) -> None:
    target = unpack(tmp_path, entry("a/x", b"text", mode=0o755), hard("y", "./a/x"), hard("b/z", "y"))
    assert (target / "b/z").read_text() == "text"
    assert (target / "y").stat().st_mode & 0o777 == 0o755
    assert (target / "y").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "gone", "link"])
def test_hard_links_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match=r"outside|no file before"):
        unpack(tmp_path, entry("f"), link("link", "f"), hard("l", name))


def test_hard_links_count_in_full(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="more than"):
        unpack(tmp_path, entry("f", b"123"), hard("l", "f"), total_bytes=5)


def test_limits(tmp_path: Path) -> None:
    for number, limits in enumerate(({"total_bytes": 5}, {"entries": 1}, {"depth": 1})):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(ArchiveError, match=r"more than|deep"):
            unpack(place, entry("a/b/c", b"123"), entry("d", b"456"), **limits)


def test_what_terraform_left_behind_is_ignored(tmp_path: Path) -> None:
    target = unpack(
        tmp_path, entry(".terraform/x"), entry("terraform.tfstate"), entry(".git/config"), entry("m.tf")
    )
    assert [path.name for path in target.iterdir()] == ["m.tf"]


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ArchiveError, match="can't be unpacked"):
        unpack_archive(tmp_path / "a.tar", tmp_path)
