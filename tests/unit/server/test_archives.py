"""What an uploaded tar may contain."""

import io
import tarfile

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


FILE, DIR, SYM, HARD, CHAR, FIFO = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
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
        [("dev", CHAR, "", b"")],
        [("pipe", FIFO, "", b"")],
    ],
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
