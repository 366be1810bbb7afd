"""The wheel carries all that the program needs: built here, installed aside, run without the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's contents; the libraries come from this environment."""
    root = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(root / "dist"),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = (root / "dist").glob("devyard-*.whl")
    target = root / "installed"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=120)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(cwd)}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import devyard; print(devyard.__file__)")
    assert Path(where.strip()) == installed / "devyard" / "__init__.py"
    assert "v0." in run(installed, tmp_path, "-m", "devyard", "version")
    for command in ("server", "agent", "provisioner", "proxy"):
        assert "Usage" in run(installed, tmp_path, "-m", "devyard", command, "--help")


def test_the_starter_templates_and_migrations_are_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "-m", "devyard", "templates", "init", "--id", "local", "mine")
    assert (tmp_path / "mine" / "main.tf").read_text() == (
        CHECKOUT / "templates" / "local" / "main.tf"
    ).read_text()
    list_migrations = "from devyard.server.db.migrate import list_migrations; print(len(list_migrations()))"
    assert int(run(installed, tmp_path, "-c", list_migrations)) >= 1
