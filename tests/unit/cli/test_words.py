"""What words on the command line mean: targets, hosts, schedules, durations, ports, global options."""

from datetime import timedelta

import pytest

from devyard.cli.connect.portforward import Forward, parse_forwards
from devyard.cli.durations import parse_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.login import normalize_url
from devyard.cli.output import short_duration
from devyard.cli.settings import hoist_globals
from devyard.cli.workspaces.crontext import ScheduleError, build_schedule, describe_schedule
from devyard.cli.workspaces.targets import Target, parse_host, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("dev", Target("me", "dev")),
        ("ada/dev", Target("ada", "dev")),
        ("dev.main", Target("me", "dev", "main")),
        ("ada/dev.main", Target("ada", "dev", "main")),
        ("ada--dev", Target("ada", "dev")),
        ("ada--dev--main", Target("ada", "dev", "main")),
        ("ada--dev.main", Target("ada", "dev", "main")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "/", "a/b/c", "../x", "a b", "--", "-x", "ada--", "x/y/../z"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(CommandFailed, match="names no workspace"):
        parse_target(text)


@pytest.mark.parametrize(
    ("host", "prefix", "suffix", "target"),
    [
        ("dev.devyard", "", "devyard", Target("me", "dev")),
        ("dev.main.devyard", "", ".devyard", Target("me", "dev", "main")),
        ("main.dev.ada.devyard", "", "devyard", Target("ada", "dev", "main")),
        ("ada--dev.devyard", "", "devyard", Target("ada", "dev")),
        ("coder-vscode.dev.example.com--ada--dev", "coder-vscode.dev.example.com--", "", Target("ada", "dev")),
        ("coder-vscode.x--ada--dev--main", "coder-vscode.x--", "", Target("ada", "dev", "main")),
        ("coder.dev", "coder.", "coder", Target("me", "dev")),
        ("ada/dev.main", "", "", Target("ada", "dev", "main")),
    ],
)
def test_hosts(host: str, prefix: str, suffix: str, target: Target) -> None:
    assert parse_host(host, prefix, suffix) == target


@pytest.mark.parametrize(
    ("words", "cron"),
    [
        ("9:30AM Mon-Fri Europe/Berlin", "CRON_TZ=Europe/Berlin 30 9 * * 1-5"),
        ("12:00am", "CRON_TZ=UTC 0 0 * * *"),
        ("12PM daily", "CRON_TZ=UTC 0 12 * * *"),
        ("17:05 Sat,Sun", "CRON_TZ=UTC 5 17 * * 6,0"),
        ("9 am US/Pacific", "CRON_TZ=US/Pacific 0 9 * * *"),
    ],
)
def test_schedules_of_people(words: str, cron: str) -> None:
    assert build_schedule(words.split(), "UTC") == cron


@pytest.mark.parametrize(
    "words", ["", "9", "25:00", "13:00pm", "9:30 Mon-Fri UTC extra", "9:30 Foo-Bar", "x", "9:61"]
)
def test_what_is_no_schedule(words: str) -> None:
    with pytest.raises(ScheduleError):
        build_schedule(words.split(), "UTC")


def test_schedules_are_described() -> None:
    assert describe_schedule("CRON_TZ=Europe/Berlin 30 9 * * 1-5") == "09:30 Mon-Fri (Europe/Berlin)"
    assert describe_schedule("5 17 * * *") == "17:05 daily (UTC)"
    assert describe_schedule("*/5 * * * *") == "*/5 * * * *"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("1h30m", 5400), ("2d", 172800), ("500ms", 0.5), ("10", 10), ("1.5h", 5400), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    duration = parse_duration(text)
    assert duration is not None
    assert duration.total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "h", "1x", "1h x", "-1h", "h1"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


def test_short_durations() -> None:
    assert short_duration(timedelta(days=2, hours=3, minutes=4)) == "2d3h"
    assert short_duration(timedelta(hours=8)) == "8h"
    assert short_duration(timedelta(0)) == "0s"


@pytest.mark.parametrize(
    ("text", "forwards"),
    [
        ("8080", [("127.0.0.1", 8080, 8080)]),
        ("8080:80", [("127.0.0.1", 8080, 80)]),
        ("8000-8001:9000-9001", [("127.0.0.1", 8000, 9000), ("127.0.0.1", 8001, 9001)]),
        ("1,2:3", [("127.0.0.1", 1, 1), ("127.0.0.1", 2, 3)]),
        ("0.0.0.0:8080:80", [("0.0.0.0", 8080, 80)]),
        ("[::1]:8080", [("::1", 8080, 8080)]),
    ],
)
def test_port_forwards(text: str, forwards: list[tuple[str, int, int]]) -> None:
    assert parse_forwards(text) == [Forward(host, here, "127.0.0.1", there) for host, here, there in forwards]


@pytest.mark.parametrize("text", ["", "x", "0", "70000", "1-3:1-2", "5-3", "1:2:3:4", "1.2.3.4", "8080:"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(CommandFailed):
        parse_forwards(text)


def test_global_options_may_stand_anywhere_before_the_dashes() -> None:
    given = ["login", "https://x", "--token", "t", "--global-config=/d", "-v"]
    assert hoist_globals(given) == ["--token", "t", "--global-config=/d", "-v", "login", "https://x"]
    assert hoist_globals(["ssh", "dev", "--", "curl", "--url", "x"]) == ["ssh", "dev", "--", "curl", "--url", "x"]
    assert hoist_globals(["server", "--url", "x"]) == ["server", "--url", "x"]
    assert hoist_globals(["provisioner", "start", "--url", "x"]) == ["provisioner", "start", "--url", "x"]
    assert hoist_globals(["provisioner", "list", "--url", "x"]) == ["--url", "x", "provisioner", "list"]


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("dev.example.com", "https://dev.example.com"),
        ("localhost:7080/", "http://localhost:7080"),
        ("127.0.0.1:7080", "http://127.0.0.1:7080"),
        ("http://x/", "http://x"),
        ("", ""),
    ],
)
def test_urls_as_people_type_them(typed: str, url: str) -> None:
    assert normalize_url(typed) == url
