import termios
from pathlib import Path

from devyard.agent.health import AppState, split_url
from devyard.agent.scripts.lines import LineSplitter
from devyard.agent.scripts.runner import Outcome, script_argv
from devyard.agent.scripts.stages import stop_budget_s, worst_of
from devyard.agent.spares import SHRINK_AFTER_S, SpareTarget
from devyard.agent.ssh.blocking import is_file_transfer
from devyard.agent.ssh.context import session_kind
from devyard.agent.ssh.motd import read_motd
from devyard.agent.ssh.terminal import apply_modes
from devyard.runtime.backoff import Backoff
from tests.e2e.agent.peers import make_script


def test_backoff_grows_to_its_cap_and_starts_anew() -> None:
    backoff = Backoff(first_s=1.0, cap_s=5.0, rand=lambda: 1.0)
    assert [backoff.next_s() for _ in range(4)] == [1.0, 2.0, 4.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 1.0
    assert Backoff(first_s=1.0, rand=lambda: 0.0).next_s() == 0.5


def test_lines_are_whole_bounded_and_text() -> None:
    splitter = LineSplitter(max_bytes=5)
    assert splitter.feed(b"ab") == []
    assert splitter.feed(b"c\r\n1234567\n\xff\0\nx") == ["abc", "12345", "\ufffd\ufffd"]
    assert splitter.finish() == ["x"]
    assert splitter.finish() == []


def test_of_a_progress_bar_the_last_drawing_counts() -> None:
    assert LineSplitter().feed(b"10%\r50%\r100%\r\n") == ["100%"]


def test_script_interpreters(tmp_path: Path) -> None:
    file = tmp_path / "long"
    assert script_argv("echo", "/bin/zsh", file) == ["/bin/zsh", "-c", "echo"]
    text = "\n#!/usr/bin/env -S python3 -u\nprint()"
    assert script_argv(text, "/bin/sh", file) == ["/usr/bin/env", "-S", "python3", "-u", "-c", text]
    long = "#!/bin/sh\n" + "#" * 200_000
    assert script_argv(long, "/bin/bash", file) == ["/bin/sh", str(file)]
    assert file.read_text() == long


def test_the_worst_outcome_counts() -> None:
    ok, failed, late = Outcome("ok", 0), Outcome("exit_failure", 1), Outcome("timed_out", 143)
    assert worst_of([]) == "ok"
    assert worst_of([ok, Outcome("pipes_left_open", 0)]) == "ok"
    assert worst_of([ok, late]) == "timeout"
    assert worst_of([late, failed]) == "error"


def test_stop_budget_follows_the_scripts() -> None:
    assert stop_budget_s([]) == 8.0
    assert stop_budget_s([make_script("", timeout_s=60), make_script("")]) == 63.0
    assert stop_budget_s([make_script("", timeout_s=86400)]) == 600.0


def test_spares_grow_with_use_and_shrink_with_quiet() -> None:
    target = SpareTarget(least=3, most=8)
    target.taken(idle_left=2, now=0.0)
    assert target.wanted(1.0) == 3
    target.taken(idle_left=0, now=1.0)
    assert target.wanted(1.0) == 8
    target.taken(idle_left=0, now=2.0)
    assert target.wanted(2.0) == 8
    assert target.wanted(2.0 + SHRINK_AFTER_S + 1) == 3


def test_app_health_changes() -> None:
    app = AppState(threshold=2)
    assert app.health == "initializing"
    assert not app.probed(False)
    assert app.probed(False)
    assert app.health == "unhealthy"
    assert app.probed(True)
    assert app.health == "healthy"
    assert not app.probed(True)


def test_health_urls_are_split() -> None:
    assert split_url("http://localhost:80") == ("http://localhost:80", "/")
    assert split_url("http://h/a/b?c=/d#e") == ("http://h", "/a/b?c=/d")
    assert split_url("http://h?x") == ("http://h", "/?x")


def test_file_transfer_commands() -> None:
    assert is_file_transfer("/usr/bin/rsync --server .")
    assert is_file_transfer("LC_ALL=C exec scp -t x")
    assert not is_file_transfer("echo scp")
    assert not is_file_transfer("")


def test_session_kind_is_taken_from_the_environment() -> None:
    environment = {"CODER_SSH_SESSION_TYPE": "VSCode", "A": "b"}
    assert session_kind(environment) == "vscode"
    assert environment == {"A": "b"}
    assert session_kind({"DEVYARD_SSH_SESSION_TYPE": "jetbrains"}) == "jetbrains"
    assert session_kind({}) == "ssh"


def test_motd(tmp_path: Path) -> None:
    template, system = tmp_path / "t", tmp_path / "s"
    template.write_bytes(b"two")
    system.write_bytes(b"one\n")
    assert read_motd(tmp_path, template, system) == b"one\r\ntwo\r\n"
    assert read_motd(tmp_path, tmp_path / "none", system) == b"one\r\n"
    (tmp_path / ".hushlogin").touch()
    assert read_motd(tmp_path, template, system) == b""


def test_terminal_modes() -> None:
    characters: list[bytes | int] = [b"\0"] * 32
    attributes: list[int | list[bytes | int]] = [0, 0, 0, termios.ECHO, 0, 0, characters]
    changed = apply_modes(attributes, {53: 0, 50: 1, 3: 0x7F, 10: 255, 129: 38400, 42: 1, 250: 1})
    assert changed[3] == termios.ISIG
    assert changed[5] == termios.B38400
    last = changed[6]
    assert isinstance(last, list)
    assert (last[termios.VERASE], last[termios.VSUSP]) == (b"\x7f", b"\0")
    assert characters[termios.VERASE] == b"\0"
