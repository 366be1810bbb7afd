"""Signing in and out, and the files that editors read."""

import stat
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import TOKEN, FakeApi, make_user


def accept_token(api: FakeApi) -> None:
    def who(asked):  # type: ignore[no-untyped-def]
        if asked.headers.get("coder-session-token") in (TOKEN, "fresh-token"):
            return 200, make_user()
        return 401, {"message": "You are signed out or your session has expired.", "code": "unauthenticated"}

    api.on("GET /users/first", (200, {"message": "The initial user has been created!"}))
    api.on("GET /users/me", who)
    api.on("POST /users/me/keys", (201, {"key": "fresh-token"}))


def test_a_token_becomes_a_session_of_its_own(cli: Cli, api: FakeApi, config_dir: Path) -> None:
    accept_token(api)
    done = cli("login", api.url + "/", "--token", TOKEN)
    assert (done.status, done.out) == (0, "")
    assert (config_dir / "session").read_text() == "fresh-token"
    assert (config_dir / "url").read_text() == api.url
    assert stat.S_IMODE((config_dir / "session").stat().st_mode) == 0o600
    assert TOKEN not in done.err


def test_editors_keep_their_token_and_name_their_directory(
    cli: Cli, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_token(api)
    monkeypatch.setenv("CODER_SESSION_TOKEN", TOKEN)
    directory = tmp_path / "editor dir"
    done = cli("--global-config", str(directory), "login", "--use-token-as-session", api.url)
    assert done.status == 0, done.err
    assert (directory / "session").read_text() == TOKEN
    monkeypatch.delenv("CODER_SESSION_TOKEN")
    # JetBrains writes the global option last.
    assert cli("login", "token", "--global-config", str(directory)).out.strip() == TOKEN
    assert cli("login", api.url, "--token", TOKEN, "--global-config", str(directory)).status == 0


def test_a_wrong_token_is_refused_and_nothing_is_stored(cli: Cli, api: FakeApi, config_dir: Path) -> None:
    accept_token(api)
    done = cli("login", api.url, "--token", "wrong-token")
    assert done.status == 1
    assert "does not accept this token" in done.err
    assert not (config_dir / "session").exists()


def test_the_first_user_is_made_from_options(cli: Cli, api: FakeApi, config_dir: Path) -> None:
    accept_token(api)
    api.on("GET /users/first", (404, {"message": "The initial user has not been created!"}))
    api.on("POST /users/first", (201, {"user_id": make_user()["id"], "organization_id": make_user()["id"]}))
    api.on("POST /users/login", (201, {"session_token": TOKEN}))
    done = cli(
        *("login", api.url, "--first-user-username", "ada", "--first-user-email", "ada@example.com"),
        *("--first-user-password", "correct horse"),
    )
    assert done.status == 0, done.err
    assert api.bodies("POST /users/first")[0]["username"] == "ada"
    assert api.bodies("POST /users/login") == [{"email": "ada@example.com", "password": "correct horse"}]
    assert (config_dir / "session").read_text() == TOKEN


def test_without_a_terminal_it_says_what_to_give(cli: Cli, api: FakeApi) -> None:
    api.on("GET /users/first", (404, {"message": "The initial user has not been created!"}))
    assert "--first-user-username" in cli("login", api.url).err
    api.on("GET /users/first", (200, {"message": ""}))
    assert "--token TOKEN" in cli("login", api.url).err
    assert "devyard login URL" in cli("login").err


def test_a_server_that_is_away_is_named(cli: Cli) -> None:
    done = cli("login", "http://127.0.0.1:1", "--token", "x")
    assert done.status == 1
    assert "http://127.0.0.1:1" in done.err
    assert "refused" in done.err


def test_whoami_and_logout(cli: Cli, signed_in: FakeApi, config_dir: Path) -> None:
    accept_token(signed_in)
    signed_in.on("POST /users/logout", (200, {"message": "bye"}))
    assert cli("whoami").out == f"ada (ada@example.com) at {signed_in.url}\n"
    assert cli("logout", "--url", signed_in.url, "--yes").status == 0
    assert not (config_dir / "session").exists()
    assert "not signed in" in cli("whoami").err


def test_a_stored_token_is_not_sent_to_another_server(cli: Cli, signed_in: FakeApi) -> None:
    with FakeApi() as other:
        assert "not signed in" in cli("list", "--url", other.url).err
        assert other.asked == []
