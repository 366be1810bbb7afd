"""The block in the user's SSH configuration: theirs stays, ours is replaced, damage is refused."""

import stat
import subprocess
from pathlib import Path

import pytest

from devyard.cli.ssh.configblock import END, START, BlockOptions, FenceError, merge, remove, render_block
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakeapi import FakeApi

BLOCK = render_block(BlockOptions(), ["/usr/bin/devyard"], "/home/ada/known_hosts")


@pytest.mark.parametrize("before", ["", "Host a\n\tUser x\n", "Host a", "\n\n", "Host a\r\n\tUser x\r\n"])
def test_the_users_text_stays_byte_for_byte(before: str) -> None:
    once = merge(before, BLOCK)
    assert once.startswith(before)
    assert merge(once, BLOCK) == once
    assert merge(once + "Host later\n", "x\n") == once.replace(BLOCK, "x\n") + "Host later\n"


def test_removal_leaves_what_was_there() -> None:
    assert remove(merge("Host a\n", BLOCK)) == "Host a\n"
    assert remove(merge("", BLOCK)) == ""
    assert remove(merge("Host a\n", BLOCK) + "Host b\n") == "Host a\nHost b\n"


@pytest.mark.parametrize(
    "content",
    [f"{START}\n", f"{END}\n", f"{END}\n{START}\n", f"{START}\n{START}\n{END}\n", f"{START}\n{END}\n{END}\n"],
)
def test_a_damaged_fence_is_refused(content: str) -> None:
    with pytest.raises(FenceError, match="line"):
        merge(content, BLOCK)


def serve(api: FakeApi, suffix: str = "devyard", options: dict[str, str] | None = None) -> None:
    reply = {"hostname_prefix": "", "hostname_suffix": suffix, "ssh_config_options": options or {}}
    api.on("GET /deployment/ssh", (200, reply))


def test_openssh_understands_it(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    serve(signed_in, options={"ServerAliveInterval": "7"})
    path = tmp_path / "ssh dir" / "config"
    path.parent.mkdir()
    path.write_text("Host mine\n\tUser me\n")
    path.chmod(0o640)
    done = cli("config-ssh", "--yes", "--ssh-config-file", str(path), "-o", "ForwardAgent=yes", "--wait", "no")
    assert done.status == 0, done.err
    assert path.read_text().startswith("Host mine\n\tUser me\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.with_name("config.devyard-backup").read_text() == "Host mine\n\tUser me\n"
    seen = subprocess.run(
        ["ssh", "-G", "-F", str(path), "dev.devyard"], capture_output=True, text=True, check=True
    )
    settings = dict(line.split(" ", 1) for line in seen.stdout.splitlines() if " " in line)
    assert settings["serveraliveinterval"] == "7"
    assert settings["forwardagent"] == "yes"
    assert settings["userknownhostsfile"] == str(tmp_path / "config" / "known_hosts")
    assert settings["proxycommand"].endswith("ssh --stdio --hostname-suffix devyard --wait no %h")
    other = subprocess.run(["ssh", "-G", "-F", str(path), "mine"], capture_output=True, text=True, check=True)
    assert "proxycommand" not in other.stdout


def test_twice_changes_nothing_and_options_are_remembered(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    serve(signed_in)
    path = tmp_path / ".ssh" / "config"
    assert cli("config-ssh", "-o", "Port=2222", "--disable-autostart").status == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    assert "as it should be" in cli("config-ssh", "--use-previous-options").err
    assert path.read_text() == first
    assert "Port 2222" in first
    assert cli("config-ssh").status == 0
    assert "Port 2222" not in path.read_text()
    assert cli("config-ssh", "--remove").status == 0
    assert path.read_text() == ""


def test_a_dry_run_only_shows(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    serve(signed_in)
    done = cli("config-ssh", "--dry-run")
    assert "+Host *.devyard" in done.out
    assert not (tmp_path / ".ssh").exists()


def test_damage_is_refused_with_the_line(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    serve(signed_in)
    path = tmp_path / "config-file"
    path.write_text(f"Host a\n{START}\n")
    done = cli("config-ssh", "--yes", "--ssh-config-file", str(path))
    assert done.status == 1
    assert "line 2" in done.err
    assert path.read_text() == f"Host a\n{START}\n"


def test_a_link_to_dotfiles_stays_a_link(cli: Cli, signed_in: FakeApi, tmp_path: Path) -> None:
    serve(signed_in, suffix="corp")
    real = tmp_path / "dotfiles-config"
    real.write_text("")
    link = tmp_path / "link"
    link.symlink_to(real)
    assert cli("config-ssh", "--yes", "--ssh-config-file", str(link)).status == 0
    assert link.is_symlink()
    assert "Host *.corp" in real.read_text()


def test_options_that_break_the_file_are_refused(cli: Cli, signed_in: FakeApi) -> None:
    serve(signed_in)
    assert cli("config-ssh", "-o", "Port=1\nHost *").status == 1
    assert cli("config-ssh", "--hostname-suffix", "a b").status == 1
    assert cli("config-ssh", "-o", "Port").status == 1
