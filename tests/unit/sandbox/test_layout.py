"""What a sandbox sees: the decisions, without building one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import devyard
from devyard.provisioner.sandbox import layout


def test_only_system_and_python_are_shown() -> None:
    binds, links = layout.system_paths()
    assert "/usr" in binds
    shown = [*binds, *(path for path, _target in links), *layout.python_paths()]
    for private in (
        "/",
        "/root",
        "/home",
        "/var",
        "/run",
        "/etc",
        "/tmp",
        "/proc",
        "/sys",
        "/dev",
        str(Path.home()),
    ):
        assert private not in shown
    for needed in (sys.prefix, os.path.realpath(sys.base_prefix)):
        assert any(layout.is_inside(needed, path) for path in shown)


def test_links_on_the_way_to_python_are_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, venv = tmp_path / "3.1.4", tmp_path / "venv"
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
    for top in (real, venv):
        (top / library).mkdir(parents=True)
        (top / "bin").mkdir()
    (real / "bin" / "python").touch()
    (tmp_path / "3.1").symlink_to(real)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("../3.1/bin/python")
    (venv / "bin" / "python").symlink_to(tmp_path / "bin" / "python")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    shown = layout.python_paths()
    assert {str(venv), str(tmp_path / "3.1")} <= set(shown)
    assert str(tmp_path) not in shown, "a directory with a link in its bin is no installation"


def test_of_a_checkout_only_the_package_is_shown() -> None:
    package = Path(layout.__file__).parents[2]
    paths = [*layout.system_paths()[0], *layout.python_paths()]
    assert any(layout.is_inside(str(package), path) for path in paths)
    if package.parent.name not in ("site-packages", "dist-packages"):
        assert str(package.parent) not in paths


def test_the_environment_is_clean_and_the_templates_win() -> None:
    env = layout.environment({"LANG": "de_DE.UTF-8", "X": "1"}, home="/home/dev", user="dev", shim_dir="/shim")
    assert env["LANG"] == "de_DE.UTF-8"
    assert env["X"] == "1"
    assert env["PATH"].startswith("/shim:/home/dev/.local/bin:/usr/local/sbin:")
    assert set(env) == {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "X"),
        "DEVYARD_SANDBOX_STARTING",
    }


@pytest.mark.parametrize(
    "shell", ["/no/such/shell", "bash", "/bin/sh\nroot:x:0:0", "/bin/sh:x", "/etc/passwd", ""]
)
def test_a_shell_that_can_not_be_is_replaced(shell: str) -> None:
    assert layout.login_shell({"SHELL": shell}) in ("/bin/bash", "/usr/bin/bash", "/bin/sh")
    env = layout.environment({"SHELL": shell}, home="/home/dev", user="dev", shim_dir="/shim")
    assert env["SHELL"] == layout.login_shell({})


def test_a_shell_that_exists_is_taken() -> None:
    assert layout.login_shell({"SHELL": "/bin/sh"}) == "/bin/sh"
    assert ":/home/dev:/bin/sh\n" in str(layout.etc_files("ws", home="/home/dev", shell="/bin/sh")["passwd"])


def test_hidden_paths_count_only_where_they_are_shown(tmp_path: Path) -> None:
    data = tmp_path / "opt" / "data"
    data.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(data)
    shown = [str(tmp_path / "opt")]
    assert layout.hidden_paths([str(link)], shown) == [str(data)]
    assert layout.hidden_paths([str(tmp_path / "optional"), str(tmp_path)], shown) == []


def test_the_home_never_lies_around_our_own_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layout.home_path() == "/home/dev"
    monkeypatch.setattr(layout, "python_paths", lambda: ["/home/dev/.venv", "/home/dev-home/x", "/srv/app"])
    assert layout.home_path() == "/home/dev-home-home"


def test_private_paths_are_those_that_others_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "note").touch(0o644)
    (tmp_path / "open" / "key").touch(0o600)
    (tmp_path / "closed").mkdir(0o750)
    (tmp_path / "closed" / "inside").touch(0o644)
    (tmp_path / "group").touch(0o640)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "key")
    found = sorted(Path(path).relative_to(tmp_path).as_posix() for path in layout.private_paths(str(tmp_path)))
    assert found == ["closed", "group", "open/key"]


def shim_that(does: str) -> str:
    text = layout.shim()
    call = "from devyard.cli.main import run; run()"
    assert call in text
    return text.replace(call, does.replace("'", "'\"'\"'"))


def test_the_shim_is_our_program_whatever_python_variables_say(tmp_path: Path) -> None:
    """Run for real, with a package of the same name in the way and the ready pipe open."""
    (tmp_path / "devyard").mkdir()
    (tmp_path / "devyard" / "__init__.py").write_text("raise SystemExit('the wrong devyard')")
    shim = tmp_path / "shim"
    shim.write_text(shim_that("import devyard; print(devyard.__file__, sys.argv[1:])"))
    done = subprocess.run(
        ["sh", "-c", f'exec 9>&2; exec sh {shim} "a b" c'],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "DEVYARD_SANDBOX_STARTING": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "ready\n"
    assert done.stdout == f"{devyard.__file__} ['a b', 'c']\n", done.stderr


def test_the_shim_leaves_the_users_descriptor_9_alone(tmp_path: Path) -> None:
    shim = tmp_path / "shim"
    shim.write_text(shim_that("print('ran')"))
    lock = tmp_path / "lock"
    done = subprocess.run(
        ["sh", "-c", f"exec 9>{lock}; sh {shim}"],
        env={"PATH": "/bin:/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ran" in done.stdout, done.stderr
    assert lock.read_text() == ""
