"""`list`: the table, its columns, JSON as it came, and what a user reads when it fails."""

import json
from datetime import timedelta

import msgspec

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import NOW, FakeApi, make_build, make_workspace


def test_the_table_is_aligned_and_favorites_come_first(cli: Cli, signed_in: FakeApi) -> None:
    plain = make_workspace(name="a-long-name", outdated=True)
    loved = make_workspace(
        name="b",
        favorite=True,
        autostart_schedule="CRON_TZ=Europe/Berlin 30 9 * * 1-5",
        ttl_ms=8 * 3600 * 1000,
        latest_build=make_build(transition="stop", status="stopped"),
    )
    signed_in.on("GET /workspaces", (200, {"workspaces": [plain, loved], "count": 2}))
    title, first, second = cli("list").out.splitlines()
    assert title.split()[:3] == ["WORKSPACE", "TEMPLATE", "STATUS"]
    assert first.startswith("ada/b ")
    assert "09:30 Mon-Fri (Europe/Berlin)" in first
    assert " 8h" in first
    assert second.index("local") == title.index("TEMPLATE")
    assert signed_in.asked[0].query["q"] == "owner:me"


def test_columns_are_chosen_by_name_and_json_is_untouched(cli: Cli, signed_in: FakeApi) -> None:
    workspace = msgspec.to_builtins(make_workspace())
    workspace["a_field_of_tomorrow"] = {"x": 1}
    signed_in.on("GET /workspaces", (200, {"workspaces": [workspace], "count": 1}))
    assert cli("ls", "-c", "status,Workspace").out == "STATUS   WORKSPACE\nrunning  ada/dev\n"
    assert json.loads(cli("list", "-o", "json").out) == [workspace]
    wrong = cli("list", "--column", "nonsense")
    assert wrong.status == 2
    assert "nonsense" in wrong.err
    assert "current version" in wrong.err


def test_nothing_there_and_filters(cli: Cli, signed_in: FakeApi) -> None:
    signed_in.on("GET /workspaces", (200, {"workspaces": [], "count": 0}))
    empty = cli("list")
    assert (empty.status, empty.out) == (0, "")
    assert "devyard create" in empty.err
    assert json.loads(cli("list", "-o", "json").out) == []
    cli("list", "--all")
    cli("list", "--search", "template:local status:running")
    assert [a.query["q"] for a in signed_in.asked[2:]] == ["", "template:local status:running"]


def test_an_ended_session_says_how_to_go_on(cli: Cli, signed_in: FakeApi) -> None:
    signed_in.on("GET /workspaces", (401, {"message": "Your session has expired.", "code": "unauthenticated"}))
    done = cli("list")
    assert done.status == 1
    assert "Your session has expired." in done.err
    assert "devyard login" in done.err


def test_an_answer_of_another_product_is_no_traceback(cli: Cli, signed_in: FakeApi) -> None:
    signed_in.on("GET /workspaces", (200, b"<html>hello</html>"))
    done = cli("list")
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "can't be read" in done.err


def test_a_server_of_another_version_is_noted_once(cli: Cli, signed_in: FakeApi) -> None:
    signed_in.version = "v9.9.9"
    signed_in.on("GET /workspaces", (200, {"workspaces": [], "count": 0}))
    assert cli("list").err.count("v9.9.9") == 1
    assert "v9.9.9" not in cli("list", "--no-version-warning").err


def test_deadline_column(cli: Cli, signed_in: FakeApi) -> None:
    build = make_build(deadline=NOW + timedelta(days=36500))
    signed_in.on("GET /workspaces", (200, {"workspaces": [make_workspace(latest_build=build)], "count": 1}))
    assert cli("list", "-c", "stops next").out.splitlines()[1].startswith("in ")
