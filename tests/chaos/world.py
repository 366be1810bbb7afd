"""The world that a workspace's Terraform makes: files and processes in a directory, each with its address.

The template's resources run small scripts that make and remove them, so that what exists can be held against what
the saved state says.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import tarfile
from pathlib import Path

import psutil

PARTS = 4
TEMPLATE = """
data "coder_workspace" "me" {}

locals {
  directory = "WORLD/${data.coder_workspace.me.id}"
}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
}

resource "terraform_data" "disk" {
  input = local.directory
  provisioner "local-exec" {
    command = "exec sh WORLD/make.sh '${self.input}' disk"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "exec sh '${self.input}/../remove.sh' '${self.input}' disk"
  }
}

resource "terraform_data" "part" {
  count = data.coder_workspace.me.start_count * PARTS
  input = { directory = terraform_data.disk.output, number = count.index }
  provisioner "local-exec" {
    command = "exec sh WORLD/make.sh '${self.input.directory}' part${self.input.number}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "exec sh '${self.input.directory}/../remove.sh' '${self.input.directory}' part${self.input.number}"
  }
}

resource "terraform_data" "program" {
  count = data.coder_workspace.me.start_count
  input = terraform_data.part[1].output.directory
  provisioner "local-exec" {
    command = "exec sh WORLD/make.sh '${self.input}' program"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "exec sh '${self.input}/../remove.sh' '${self.input}' program"
  }
}
"""
MAKE = """
mkdir -p "$1"
: > "$1/$2.begun"
while [ -e "$1/hold" ]; do sleep 0.01; done
# The program says itself who it is: one that a killed script had started is found again, not doubled.
if [ "$2" = program ] && ! kill -0 "$(cat "$1/$2.pid" 2> /dev/null)" 2> /dev/null; then
    : > "$1/$2.log"
    setsid sh -c 'echo $$ > "$1.pid"; exec tail -f "$1.log"' sh "$1/$2" > /dev/null 2>&1 < /dev/null &
    while [ ! -s "$1/$2.pid" ]; do sleep 0.005; done
fi
: > "$1/$2"
rm -f "$1/$2.begun"
"""
REMOVE = """
: > "$1/$2.ending"
while [ -e "$1/hold" ]; do sleep 0.01; done
if [ "$2" = program ] && [ -e "$1/$2.pid" ]; then kill "$(cat "$1/$2.pid")" 2> /dev/null; fi
rm -f "$1/$2" "$1/$2.pid" "$1/$2.log" "$1/$2.begun" "$1/$2.ending"
"""
ALL = {"terraform_data.disk", *(f"terraform_data.part[{n}]" for n in range(PARTS)), "terraform_data.program[0]"}
STOPPED = {"terraform_data.disk"}


class World:
    """One workspace's directory."""

    def __init__(self, root: Path, workspace_id: str) -> None:
        self.directory = root / workspace_id

    def list_things(self) -> set[str]:
        """The addresses of what exists."""
        if not self.directory.is_dir():
            return set()
        names = {path.name for path in self.directory.iterdir() if path.name == "disk" or "." not in path.name}
        found = {address for name in names - {"hold"} if (address := address_of(name))}
        if self.list_programs():
            found.add("terraform_data.program[0]")
        return found

    def list_programs(self) -> list[psutil.Process]:
        """The processes that the template left running."""
        wanted = str(self.directory / "program.log")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "tail" and wanted in process.cmdline():
                    found.append(process)
        return found

    def has_begun(self) -> bool:
        """Something is being made or removed now."""
        if not self.directory.is_dir():
            return False
        return any(name.endswith((".begun", ".ending")) for name in os.listdir(self.directory))

    def list_scripts(self) -> list[str]:
        """What Terraform runs here now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.status() != psutil.STATUS_ZOMBIE and "sh" in words[:1] and str(self.directory) in words:
                    found.append(" ".join(words))
        return found

    def hold(self, is_held: bool) -> None:
        """Lets nothing be finished, or lets it go on."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if is_held:
            (self.directory / "hold").touch()
        else:
            (self.directory / "hold").unlink(missing_ok=True)

    def forget_begun(self) -> None:
        """Removes the marks of scripts that were killed."""
        for path in [*self.directory.glob("*.begun"), *self.directory.glob("*.ending")]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Ends and removes what is there, as a person does who was told to look for it."""
        for process in self.list_programs():
            process.send_signal(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


def address_of(name: str) -> str:
    """The address of a thing's name; empty for other files."""
    if match := re.fullmatch(r"part(\d+)", name):
        return f"terraform_data.part[{match[1]}]"
    return {"disk": "terraform_data.disk", "program": "terraform_data.program[0]"}.get(name, "")


def make_archive(root: Path) -> bytes:
    """The template's archive; its scripts are put into `root`."""
    (root / "make.sh").write_text(MAKE)
    (root / "remove.sh").write_text(REMOVE)
    text = TEMPLATE.replace("PARTS", str(PARTS)).replace("WORLD", str(root))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("main.tf")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def list_saved(state: bytes, *, only_tainted: bool = False) -> set[str]:
    """The addresses of the template's things in a state; only those whose making was cut short, if so wished."""
    if not state.strip():
        return set()
    found = set()
    for resource in json.loads(state)["resources"]:
        if resource["type"] == "terraform_data" and resource["mode"] == "managed":
            for instance in resource["instances"]:
                if only_tainted and instance.get("status") != "tainted":
                    continue
                key = f"[{instance['index_key']}]" if "index_key" in instance else ""
                found.add(f"terraform_data.{resource['name']}{key}")
    return found
