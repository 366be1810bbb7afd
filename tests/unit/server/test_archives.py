"""What an uploaded tar may contain."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from devyard.server.files import rules
from devyard.wire.errors import Invalid


def pack(*members: tuple[str, bytes, str, bytes]) -> bytes:
    """A tar of (name, type, link target, content) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


FILE, DIR, SYM, HARD, CHAR, BLOCK, FIFO = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)


def test_an_ordinary_template_passes() -> None:
    rules.check_tar(
        pack(
            ("./", DIR, "", b""),
            ("./main.tf", FILE, "", b"terraform {}"),
            ("modules/a/x.tf", FILE, "", b""),
            ("link.tf", SYM, "modules/a/x.tf", b""),
            ("modules/a/up.tf", SYM, "../../main.tf", b""),
            ("again.tf", HARD, "main.tf", b""),
            ("main.tf", FILE, "", b"terraform {} # the last one counts"),
            ("modules", DIR, "", b""),
            ("nowhere", SYM, "gone", b""),
            ("through.tf", SYM, "link.tf", b""),
        )
    )


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/passwd", FILE, "", b"")],
        [("../up.tf", FILE, "", b"")],
        [("a/../../up.tf", FILE, "", b"")],
        [("a\\b", FILE, "", b"")],
        [("l", SYM, "/etc", b"")],
        [("l", SYM, "..", b"")],
        [("a/l", SYM, "../../x", b"")],
        [("l", HARD, "../x", b"")],
        [("l", HARD, "/etc/passwd", b"")],
        [("l", SYM, "a", b""), ("l/x", FILE, "", b"")],
        [("a/b/up", SYM, "../..", b""), ("l", SYM, "a/b/up/../x", b"")],
        [("one", SYM, "two", b""), ("two", SYM, "a/three", b""), ("a/three", SYM, "../..", b"")],
        [("a", SYM, "b", b""), ("b", SYM, "a", b"")],
        [("l", SYM, "", b"")],
        [("l", SYM, "x/" * 100, b"")],
        [("l", HARD, "nothing", b"")],
        [("l", SYM, "main.tf", b""), ("again", HARD, "l", b"")],
        [("main.tf/x", FILE, "", b"")],
        [("a/x", FILE, "", b""), ("a", FILE, "", b"")],
        [("a/x", FILE, "", b""), ("a", SYM, "b", b"")],
        [("main.tf", DIR, "", b"")],
        [("main.tf", SYM, "x", b"")],
        [("l", SYM, "x", b""), ("l", SYM, "y", b"")],
        [(".", FILE, "", b"")],
        [("d/" * 70 + "x", FILE, "", b"")],
        [("n" * 300, FILE, "", b"")],
        [("dev", CHAR, "", b"")],
        [("disk", BLOCK, "", b"")],
        [("pipe", FIFO, "", b"")],
        [("odd", b"Z", "", b"")],
    ],
    ids=lambda members: " ".join(
        f"{name[:20]}={kind.decode()}>{target[:12]}" for name, kind, target, _ in members
    ),
)
def test_what_reaches_outside_is_refused(members: list[tuple[str, bytes, str, bytes]]) -> None:
    with pytest.raises(Invalid) as refused:
        rules.check_tar(pack(("main.tf", FILE, "", b""), *members))
    assert refused.value.validations[0].field == "file"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no tar", b"x" * 2000])
def test_what_is_no_tar_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        rules.check_tar(data)


def test_count_and_size_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_MEMBERS", 3)
    with pytest.raises(Invalid, match="refused"):
        rules.check_tar(pack(*[(f"f{i}", FILE, "", b"") for i in range(4)]))
    monkeypatch.setattr(rules, "MAX_MEMBERS", 10)
    monkeypatch.setattr(rules, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(Invalid):
        rules.check_tar(pack(("big", FILE, "", b"x" * 1001)))


def test_hard_links_count_as_often_as_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(Invalid) as refused:
        rules.check_tar(pack(("big", FILE, "", b"x" * 400), *[(f"l{i}", HARD, "big", b"") for i in range(3)]))
    assert "unpacks to more" in refused.value.detail
    monkeypatch.setattr(rules, "MAX_LINKS", 3)
    with pytest.raises(Invalid, match="refused"):
        rules.check_tar(pack(*[(f"l{i}", SYM, "x", b"") for i in range(4)]))


def test_a_sparse_file_counts_with_its_holes(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(rules.MAX_UNPACKED_BYTES + 1)
    for kind in ("gnu", "posix"):
        packed = tmp_path / f"{kind}.tar"
        subprocess.run(["tar", "-C", tmp_path, f"--format={kind}", "--sparse", "-cf", packed, "holes"], check=True)
        assert packed.stat().st_size < 100_000
        with pytest.raises(Invalid) as refused:
            rules.check_tar(packed.read_bytes())
        assert "unpacks to more" in refused.value.detail


def test_headers_without_end_are_refused() -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 5
    header = name.tobuf(tarfile.GNU_FORMAT) + b"name\0".ljust(512, b"\0")
    with pytest.raises(Invalid, match="refused"):
        rules.check_tar(header * 5000)


def test_a_size_below_zero_is_refused() -> None:
    member = tarfile.TarInfo("a")
    member.size = -1024
    header = member.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Invalid, match="refused"):
        rules.check_tar(header + bytes(10240))


def test_modes_and_owners_are_no_reason_to_refuse() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("run.sh")
        member.mode, member.uid = 0o6777, 0
        archive.addfile(member, io.BytesIO())
    rules.check_tar(buffer.getvalue())
