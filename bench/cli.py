"""What an editor or a person waits for at each command, on a quickstart of its own.

    python bench/cli.py [--rounds 15]

Whole processes, medians beside a bare interpreter of the same minutes, with the commands taken in turn so that a
drift of the machine meets all alike. Loopback only, bounded by --rounds.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEVYARD = [sys.executable, "-m", "devyard"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = min(parser.parse_args().rounds, 100)
    with tempfile.TemporaryDirectory(prefix="devyard-bench-") as root:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("DEVYARD_", "CODER_", "XDG_"))}
        environment = {**environment, "HOME": root}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        server = start(Path(root), environment)
        try:
            measure(Path(root), environment, rounds)
            run([*DEVYARD, "delete", "dev", "--yes"], environment)  # its sandbox would outlive the server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def start(root: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """`devyard quickstart`, once its workspace takes connections."""
    log = root / "quickstart.log"
    options = ["--data-dir", str(root / "data"), "--http-address", "127.0.0.1:0", "--no-shell"]
    with log.open("wb") as file:
        server = subprocess.Popen([*DEVYARD, "quickstart", *options], env=environment, stdout=file, stderr=file)
    for _ in range(1200):
        if "Serving until" in log.read_text():
            return server
        if server.poll() is not None:
            break
        time.sleep(0.1)
    server.terminate()
    raise SystemExit(log.read_text())


def measure(root: Path, environment: dict[str, str], rounds: int) -> None:
    config = root / "ssh-config"
    run([*DEVYARD, "config-ssh", "--yes", "--ssh-config-file", str(config)], environment)
    commands = {
        "bare `python -c pass`": [sys.executable, "-c", "pass"],
        "`devyard version`": [*DEVYARD, "version"],
        "`devyard list`": [*DEVYARD, "list"],
        "`devyard ssh WS -- true`": [*DEVYARD, "ssh", "dev", "--", "true"],
        "`ssh WS.devyard true` (OpenSSH over `ssh --stdio`)": ["ssh", "-F", str(config), "dev.devyard", "true"],
        "`devyard ping WS -n 1`": [*DEVYARD, "ping", "dev", "-n", "1"],
    }
    figures: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            took = run(command, environment)
            if number:
                figures[name].append(took)
    print("| what | median ms | min | max |\n|---|---|---|---|")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")


def run(command: list[str], environment: dict[str, str]) -> float:
    """Milliseconds of a whole process that has to succeed."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
