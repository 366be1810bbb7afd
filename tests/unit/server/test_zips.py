"""Zip archives in and out, and what a hostile one may try."""

import io
import stat
import tarfile
import zipfile

import pytest

from devyard.server.files import rules, zips
from devyard.wire.errors import Invalid
from tests.unit.server.test_archives import DIR, FILE, HARD, SYM, pack


def make_zip(*entries: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644, method: int = 8) -> bytes:
    """A zip of (name, content) entries with one mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            entry.external_attr, entry.compress_type = mode << 16, method
            archive.writestr(entry, content)
    return buffer.getvalue()


def read_tar(data: bytes) -> dict[str, bytes | None]:
    """Name → content of a tar's members, None for directories."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {m.name: f.read() if (f := archive.extractfile(m)) else None for m in archive}


def test_a_zip_becomes_a_tar_that_is_taken() -> None:
    data = make_zip(("main.tf", b"terraform {}"), ("modules/", b""), ("./modules/x.tf", b"x" * 100_000))
    converted = zips.convert_to_tar(data)
    rules.check_tar(converted)
    assert read_tar(converted) == {"main.tf": b"terraform {}", "modules": None, "modules/x.tf": b"x" * 100_000}
    assert zips.convert_to_tar(data) == converted
    with tarfile.open(fileobj=io.BytesIO(converted)) as archive:
        assert archive.getmember("main.tf").mtime == 1767323046
        assert archive.getmember("main.tf").mode == 0o644
    script = zips.convert_to_tar(make_zip(("run.sh", b""), mode=stat.S_IFREG | 0o755))
    with tarfile.open(fileobj=io.BytesIO(script)) as archive:
        assert archive.getmember("run.sh").mode == 0o755


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.tf", "a/../../up.tf", "a\\..\\b", "x" * 2000])
def test_what_reaches_outside_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        zips.convert_to_tar(make_zip(("main.tf", b""), (name, b"x")))


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_are_refused(kind: int) -> None:
    with pytest.raises(Invalid) as refused:
        zips.convert_to_tar(make_zip(("l", b"main.tf"), mode=kind | 0o777))
    assert "neither a file" in refused.value.detail


def make_linked(*links: tuple[str, bytes]) -> bytes:
    """A zip with a file and links to it, as `zip --symlinks` makes it."""
    buffer = io.BytesIO(make_zip(("modules/x.tf", b"x")))
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, target in links:
            entry = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return buffer.getvalue()


def test_links_that_stay_inside_are_kept() -> None:
    converted = zips.convert_to_tar(make_linked(("x.tf", b"modules/x.tf"), ("modules/all", b"..")))
    rules.check_tar(converted)
    with tarfile.open(fileobj=io.BytesIO(converted)) as archive:
        assert archive.getmember("x.tf").linkname == "modules/x.tf"
        assert archive.getmember("modules/all").issym()
        content = archive.extractfile("x.tf")
        assert content is not None
        assert content.read() == b"x"


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../x", b"", b"\xff", b"x" * 2000])
def test_links_that_lead_out_are_refused(target: bytes) -> None:
    with pytest.raises(Invalid):
        rules.check_tar(zips.convert_to_tar(make_linked(("l", target))))


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04 no zip", pack(("main.tf", FILE, "", b""))])
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        zips.convert_to_tar(data)


def test_damaged_encrypted_odd_and_doubled_entries_are_refused() -> None:
    good = make_zip(("main.tf", b"terraform {}"), method=zipfile.ZIP_STORED)
    damaged = good.replace(b"terraform {}", b"terraform []")
    encrypted = bytearray(good)
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    odd = make_zip(("main.tf", b"x"), method=zipfile.ZIP_BZIP2)
    with pytest.warns(UserWarning, match="Duplicate"):
        doubled = make_zip(("main.tf", b""), ("main.tf", b""))
    for data, word in ((damaged, "CRC"), (bytes(encrypted), "encrypted"), (odd, "deflate"), (doubled, "twice")):
        with pytest.raises(Invalid) as refused:
            zips.convert_to_tar(data)
        assert word in refused.value.detail


def test_a_bomb_is_stopped_by_what_comes_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_UPLOAD_BYTES", 1_000_000)
    bomb = bytearray(make_zip(("big.tf", bytes(3_000_000))))
    assert len(bomb) < 10_000
    with pytest.raises(Invalid, match="refused"):
        zips.convert_to_tar(bytes(bomb))
    # Several that are small each, too.
    with pytest.raises(Invalid):
        zips.convert_to_tar(make_zip(*[(f"{i}.tf", bytes(300_000)) for i in range(4)]))
    monkeypatch.setattr(rules, "MAX_MEMBERS", 3)
    with pytest.raises(Invalid):
        zips.convert_to_tar(make_zip(*[(f"{i}.tf", b"") for i in range(4)]))


def test_a_tar_comes_back_as_a_zip() -> None:
    data = pack(
        ("./", DIR, "", b""),
        ("./main.tf", FILE, "", b"terraform {}"),
        ("modules", DIR, "", b""),
        ("modules/up.tf", SYM, "../main.tf", b""),
        ("again.tf", HARD, "./main.tf", b""),
        ("nowhere.tf", SYM, "gone.tf", b""),
    )
    with zips.convert_to_zip(data) as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["main.tf", "modules/", "modules/up.tf", "again.tf"]
        assert archive.read("modules/up.tf") == archive.read("again.tf") == b"terraform {}"


def test_links_cannot_multiply_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_UNPACKED_BYTES", 1_000_000)
    links = [(f"l{i}", SYM, "big", b"") for i in range(10)]
    data = pack(("big", FILE, "", bytes(300_000)), *links)
    rules.check_tar(data)
    with pytest.raises(Invalid):
        zips.convert_to_zip(data)


def test_links_in_a_circle_end() -> None:
    data = pack(("a", SYM, "b", b""), ("b", SYM, "a", b""), ("main.tf", FILE, "", b""))
    with zips.convert_to_zip(data) as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["main.tf"]
