"""The agent's init script, run by real shells against fake programs."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from devyard.provisioner.initscript import ARCHITECTURES, init_script, list_init_scripts

URL = "http://127.0.0.1:7080"
SHELLS = [shell for shell in ("dash", "bash", "busybox", "zsh") if shutil.which(shell)]


def rendered(auth: str = "token") -> str:
    return init_script("linux", "amd64").replace("${ACCESS_URL}", URL).replace("${AUTH_TYPE}", auth)


def run(
    script: str, *, shell: str = "sh", path: Path | None = None, home: str = "/nonexistent", **env: str
) -> "subprocess.CompletedProcess[str]":
    command = {"busybox": ["busybox", "sh"], "zsh": ["zsh", "--emulate", "sh"]}.get(shell, [shell])
    program = shutil.which(command[0]) or "/bin/sh"
    return subprocess.run(
        [program, *command[1:], "-c", script],
        env={"PATH": str(path or "/nonexistent"), "HOME": home, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def fake(folder: Path, name: str, body: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(
        f'#!/bin/sh\n{body}\necho "{name} $*" "$CODER_AGENT_URL" "$DEVYARD_AGENT_URL" '
        '"$CODER_AGENT_TOKEN" "$DEVYARD_AGENT_TOKEN" "$CODER_AGENT_AUTH"\n'
    )
    program.chmod(0o755)
    return folder


def test_its_placeholders_are_the_only_ones_and_it_is_small() -> None:
    for os_name in ("linux", "darwin", "windows"):
        for arch in ARCHITECTURES:
            text = init_script(os_name, arch)
            assert set(re.findall(r"\$\{[^}]*\}?", text)) <= {"${ACCESS_URL}", "${AUTH_TYPE}"}
            assert "%{" not in text
            assert len(text) < 4096
    assert set(list_init_scripts()) == {f"{o}/{a}" for o in ("linux", "darwin", "windows") for a in ARCHITECTURES}
    assert re.findall("localhost|127[.]0[.]0[.]1", init_script("linux", "arm64")) == []
    assert rendered().count(URL) == 1


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("variable", ["CODER_AGENT_TOKEN", "DEVYARD_AGENT_TOKEN"])
def test_it_becomes_the_agent(tmp_path: Path, shell: str, variable: str) -> None:
    done = run(rendered(), shell=shell, path=fake(tmp_path / "bin", "devyard"), **{variable: "t0"})
    assert done.stdout == f"devyard agent {URL} {URL} t0 t0 token\n", done.stderr


def test_it_survives_what_templates_do_to_it(tmp_path: Path) -> None:
    path = fake(tmp_path / "bin", "devyard")
    moved = re.sub(r"localhost|127\.0\.0\.1", "host.docker.internal", rendered())
    assert "http://host.docker.internal:7080" in run(moved, path=path, CODER_AGENT_TOKEN="t").stdout
    encoded = base64.b64encode(rendered().encode()).decode()
    (path / "base64").symlink_to(shutil.which("base64") or "")
    (path / "sh").symlink_to("/bin/sh")
    piped = run(f"echo {encoded} | base64 -d | sh", path=path, CODER_AGENT_TOKEN="t")
    assert piped.stdout == f"devyard agent {URL} {URL} t t token\n"
    nested = run('sh -c "$SCRIPT"', path=path, SCRIPT=rendered(), CODER_AGENT_TOKEN="t")
    assert nested.stdout == piped.stdout


def test_where_it_looks_and_in_which_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    fake(home / ".local" / "bin", "devyard", "echo from home")
    done = run(rendered(), home=str(home), CODER_AGENT_TOKEN="t")
    assert done.stdout.startswith("from home\n")
    path = fake(tmp_path / "bin", "devyard", "echo from path")
    done = run(rendered(), path=path, home=str(home), CODER_AGENT_TOKEN="t")
    assert done.stdout.startswith("from path\n")
    own = fake(tmp_path / "own", "agent-program") / "agent-program"
    done = run(rendered(), path=path, CODER_AGENT_TOKEN="t", DEVYARD_AGENT_COMMAND=f"{own} --verbose")
    assert done.stdout.startswith("agent-program --verbose agent ")
    python = fake(tmp_path / "py", "python3", 'test "$1" = -c && exit 0')
    done = run(rendered(), path=python, CODER_AGENT_TOKEN="t")
    assert done.stdout.startswith("python3 -m devyard agent ")


def test_it_says_what_to_do(tmp_path: Path) -> None:
    done = run(rendered(), path=fake(tmp_path / "bin", "devyard"))
    assert done.returncode == 1
    assert "CODER_AGENT_TOKEN" in done.stderr
    done = run(rendered(), CODER_AGENT_TOKEN="t")
    assert done.returncode == 1
    assert "pip install devyard" in done.stderr
    python = fake(tmp_path / "py", "python3", 'test "$1" = -c && exit 1')
    assert "pip install devyard" in run(rendered(), path=python, CODER_AGENT_TOKEN="t").stderr
    done = run(init_script("darwin", "arm64"))
    assert done.returncode == 1
    assert "macOS" in done.stderr
    with pytest.raises(ValueError, match="plan9/amd64"):
        init_script("plan9", "amd64")


def test_a_cloud_identity_needs_no_token(tmp_path: Path) -> None:
    done = run(rendered("aws-instance-identity"), path=fake(tmp_path / "bin", "devyard"))
    assert done.stdout.split()[-1] == "aws-instance-identity"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    for text in (rendered(), init_script("darwin", "arm64")):
        done = subprocess.run(
            ["shellcheck", "-s", "sh", "-"], input=text, capture_output=True, text=True, check=False
        )
        assert done.stdout == ""
