"""The launcher's cheap start and the bound of the log."""

import os
import subprocess
import sys
from pathlib import Path

import devyard
from devyard.provisioner.sandbox.inside import BoundedLog


def test_the_log_keeps_its_end_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    log = BoundedLog(fd, 4000)
    for number in range(1000):
        log.write(b"line %d\n" % number)
        assert path.stat().st_size <= 4000
    os.close(fd)
    lines = path.read_text().splitlines()
    assert lines[0] == "[earlier output was dropped]"
    assert lines[-1] == "line 999"
    assert len(lines) > 100
    numbers = [int(line.split()[1]) for line in lines[1:]]
    assert numbers == list(range(numbers[0], 1000)), "no line is cut and none is missing"


def test_the_launcher_imports_only_what_is_cheap() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(devyard.__file__).parents[1])!r})\n"
        "import devyard.provisioner.sandbox.launch\n"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert "devyard.provisioner.sandbox.launch" in modules
    assert not modules & {
        "json",
        "re",
        "typing",
        "enum",
        "pathlib",
        "asyncio",
        "subprocess",
        "msgspec",
        "contextlib",
    }
