"""What is said while a job waits, near names, switches, weekdays, archives from stdin."""

import gzip
import io
import tarfile

import pytest

from devyard.cli.failures import CommandFailed
from devyard.cli.nearby import hint_nearest
from devyard.cli.queueing import QueueDisplay, warn_unmatched
from devyard.cli.switches import fill_switches
from devyard.cli.templates.archive import read_archive
from devyard.cli.templates.editing import read_days
from devyard.wire.jobs import MatchedProvisioners
from tests.unit.cli.fakeapi import NOW, make_job

TAGS = {"scope": "organization", "owner": "", "cluster": "eu"}


def test_each_place_in_the_queue_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    queue = QueueDisplay()
    for position in (3, 3, 2):
        queue.show(make_job("pending", queue_position=position, queue_size=5))
    queue.show(make_job("running"))
    assert capsys.readouterr().err.splitlines() == [
        "Waiting for a provisioner: place 3 of 5 in the queue",
        "Waiting for a provisioner: place 2 of 5 in the queue",
    ]


def test_a_job_that_nobody_takes(capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job("pending", tags=TAGS)
    warn_unmatched(MatchedProvisioners(2, 1), job)
    assert capsys.readouterr().err == ""
    warn_unmatched(MatchedProvisioners(0, 0), job)
    said = capsys.readouterr().err
    assert "no provisioner can take this job now. It needs one with the tags cluster=eu." in said
    assert "devyard provisioner start --tag cluster=eu" in said
    warn_unmatched(MatchedProvisioners(1, 0, NOW), make_job("pending"))
    assert "a provisioner without tags. The last that fits was seen" in capsys.readouterr().err
    warn_unmatched(MatchedProvisioners(0, 0, reason="The server's own words."), job)
    assert "now. The server's own words." in capsys.readouterr().err


def test_near_names() -> None:
    assert hint_nearest("devv", ["dev", "prod"]) == " Did you mean dev?"
    assert hint_nearest("DEV", ["dev"]) == " Did you mean dev?"
    assert hint_nearest("nothing", ["dev"]) == ""


@pytest.mark.parametrize(
    ("words", "filled"),
    [
        (["--private", "tpl"], ["--private=true", "tpl"]),
        (["tpl", "--private"], ["tpl", "--private=true"]),
        (["--private", "false", "tpl"], ["--private", "false", "tpl"]),
        (["--private=false"], ["--private=false"]),
        (["--", "--private"], ["--", "--private"]),
    ],
    ids=["before", "last", "word", "equals", "after-dashes"],
)
def test_switches_with_and_without_a_value(words: list[str], filled: list[str]) -> None:
    assert fill_switches(words, {"--private"}) == filled


def test_weekdays() -> None:
    assert read_days(("sunday,Monday", "monday")) == ["monday", "sunday"]
    assert len(read_days(("all",), every="all")) == 7
    assert read_days(("none",), nothing="none") == []
    with pytest.raises(CommandFailed, match="'mon' is no weekday"):
        read_days(("mon",), every="all")


def test_an_archive_from_stdin() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("main.tf"))
    plain = buffer.getvalue()
    assert read_archive(io.BytesIO(plain)) == (plain, "application/x-tar")
    assert read_archive(io.BytesIO(gzip.compress(plain)))[0] == plain
    assert read_archive(io.BytesIO(b"PK\x03\x04"))[1] == "application/zip"
    for broken in (b"", b"hello", gzip.compress(plain)[:-20], b"\x1f\x8bnothing"):
        with pytest.raises(CommandFailed):
            read_archive(io.BytesIO(broken))


def test_an_archive_that_unpacks_too_far_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devyard.cli.templates.archive.MAX_BYTES", 4096)
    with pytest.raises(CommandFailed, match="unpacks to more than"):
        read_archive(io.BytesIO(gzip.compress(bytes(100_000))))
