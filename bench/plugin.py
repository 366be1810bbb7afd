"""How long Terraform waits for the plugin executable: start to handshake, beside a bare interpreter.

    python bench/plugin.py [--rounds 20]

With a client certificate, as Terraform sends one, and without; taken in turn with `python -c pass`, medians in
milliseconds. "served" is until the process ends its own loading, seen by the socket behind the relay. Bounded by
--rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from devyard.provisioner.plugin.certificate import make_certificate
from devyard.provisioner.plugin.executable import COOKIE, COOKIE_NAME

PLUGIN = [sys.executable, "-m", "devyard.provisioner.plugin.executable"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    rounds = min(parser.parse_args().rounds, 100)
    certificate = make_certificate().certificate_pem.decode()
    figures: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, client in (("with TLS", certificate), ("without TLS", "")):
            handshake, served = start_plugin(client)
            if number:  # the first round fills caches
                figures.setdefault(f"handshake {name}", []).append(handshake)
                figures.setdefault(f"served {name}", []).append(served)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        if number:
            figures.setdefault("bare python", []).append(time.perf_counter() - began)
    for name, values in figures.items():
        print(f"{name:24} median {statistics.median(values) * 1000:6.0f}  min {min(values) * 1000:6.0f}")


def start_plugin(client_certificate: str) -> tuple[float, float]:
    """Seconds from start to the handshake, and to the first answer being possible."""
    with tempfile.TemporaryDirectory(prefix="dyb-") as directory:
        environment = {
            **os.environ,
            COOKIE_NAME: COOKIE,
            "PLUGIN_CLIENT_CERT": client_certificate,
            "PLUGIN_UNIX_SOCKET_DIR": directory,
        }
        began = time.perf_counter()
        process = subprocess.Popen(PLUGIN, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        handshake = time.perf_counter() - began
        inner = Path(line.split("|")[3] + "~")
        while not inner.exists() and process.poll() is None:
            time.sleep(0.001)
        served = time.perf_counter() - began
        process.terminate()
        process.wait(20)
        return handshake, served


if __name__ == "__main__":
    main()
