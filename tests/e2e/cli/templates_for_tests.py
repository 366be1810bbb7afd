"""Templates that need nothing but Terraform itself, and a terminal on which questions are answered."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.main_job.conftest import Devyard

PARAMETERS = """
data "devyard_parameter" "region" {
  name    = "region"
  default = "eu"
  order   = 1
  option {
    name  = "Europe"
    value = "eu"
  }
  option {
    name  = "America"
    value = "us"
  }
}

data "devyard_parameter" "size" {
  name    = "size"
  type    = "number"
  order   = 2
  mutable = true
  validation {
    min = 1
    max = 8
  }
}

data "devyard_parameter" "wipe" {
  name      = "wipe"
  type      = "bool"
  default   = "false"
  ephemeral = true
  mutable   = true
}
"""

PRESET = """
data "devyard_workspace_preset" "small" {
  name       = "small"
  parameters = { region = "us", size = "2" }
}
"""

RESOURCE = """
data "devyard_workspace" "me" {}

resource "terraform_data" "thing" {
  count = data.devyard_workspace.me.start_count
  input = "made"
}
"""

VARIABLE = """
variable "access" {
  type      = string
  sensitive = true
}
"""

ZONE = """
data "devyard_parameter" "zone" {
  name    = "zone"
  default = "a"
  order   = 3
}
"""

SLOW = """
resource "terraform_data" "slow" {
  count = data.devyard_workspace.me.start_count
  provisioner "local-exec" {
    command = "exec sleep 120"
  }
}
"""


def write_template(directory: Path, *parts: str) -> Path:
    """A template's directory with one file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.tf").write_text("\n".join(parts))
    return directory


class Terminal:
    """`devyard ARGUMENTS` on a pseudo-terminal; what it says is collected, answers are typed."""

    def __init__(self, devyard: Devyard, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devyard", *arguments],
            env={**devyard.environment, "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def expect(self, text: str, timeout_s: float = 60) -> None:
        """Read until the text has come since the last answer."""
        deadline = time.monotonic() + timeout_s
        while text not in self._fresh():
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come:\n{self.said}"
            ready, _, _ = select.select([self._master], [], [], min(left, 1))
            if ready and not self._read():
                raise AssertionError(f"{text!r} did not come:\n{self.said}")

    def answer(self, text: str) -> None:
        """Type a line."""
        self._mark = len(self.said)
        os.write(self._master, text.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Type a key, as b"\\x03" for Ctrl-C."""
        self._mark = len(self.said)
        os.write(self._master, key)

    def finish(self, timeout_s: float = 60) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._master], [], [], 0.5)
            if ready and not self._read():
                break
        os.close(self._master)
        return self.process.wait(max(deadline - time.monotonic(), 1))

    _mark = 0

    def _fresh(self) -> str:
        return self.said[self._mark :]

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.said += data.decode(errors="replace")
        return bool(data)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
