"""Templates that do harm, and how each has to end."""

from typing import Literal

import msgspec

from devyard.wire.provisionerlink import Limits

AGENT = 'resource "coder_agent" "main" {\n  os   = "linux"\n  arch = "amd64"\n}\n'
SMALL = Limits(time_s=60, memory_mb=600, processes=250, disk_mb=20)
MARK = "87654.25"
"""A number that names the processes of these templates."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A template, what runs it, and what has to come of it: one of `says` in the error, within `within_s`."""

    name: str
    files: dict[str, str]
    kind: Literal["import", "build"] = "import"
    limits: Limits = SMALL
    says: tuple[str, ...] = ()
    logs: str = ""
    within_s: float = 20


def script(command: str, name: str = "harm") -> dict[str, str]:
    """A template with one script."""
    quoted = command.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${")
    return {
        "main.tf": f'{AGENT}resource "terraform_data" "{name}" {{\n  provisioner "local-exec" {{\n'
        f'    command = "{quoted}"\n  }}\n}}\n'
    }


PROVIDERS = {"crash": "#!/bin/sh\necho no >&2\nexit 3\n", "hang": f"#!/bin/sh\nexec sleep {MARK}\n"}


def provider(name: str) -> dict[str, str]:
    """A template that uses one of PROVIDERS."""
    return {
        "main.tf": f"terraform {{\n  required_providers {{\n    {name} = {{\n"
        f'      source = "example.com/tests/{name}"\n    }}\n  }}\n}}\nresource "{name}_thing" "x" {{}}\n'
    }


PARAMETERS = "".join(
    f'data "coder_parameter" "p{n}" {{\n  name = "p{n}"\n  default = "x"\n}}\n' for n in range(10_000)
)
ENDLESS = "sum([for a in range(1024) : sum([for b in range(1024) : sum([for c in range(1024) : a * b * c])])])"

TABLE = [
    Broken(
        name="syntax error",
        files={"main.tf": AGENT + 'resource "terraform_data" "x" {\n  input = \n}\n'},
        says=("main.tf:6: Invalid expression",),
    ),
    Broken(
        name="missing provider",
        files={
            "main.tf": "terraform {\n  required_providers {\n"
            '    nothing = { source = "example.invalid/nobody/nothing" }\n  }\n}\n'
            'resource "nothing_thing" "x" {}\n'
        },
        says=("example.invalid/nobody/nothing",),
    ),
    Broken(
        name="cycle",
        files={
            "main.tf": 'resource "terraform_data" "a" {\n  input = terraform_data.b.id\n}\n'
            'resource "terraform_data" "b" {\n  input = terraform_data.a.id\n}\n'
        },
        says=("Cycle",),
    ),
    Broken(
        name="10,000 parameters",
        files={"main.tf": PARAMETERS},
        says=("has 10000 parameters; at most 500",),
        within_s=30,
    ),
    Broken(
        name="50 MB of logs",
        kind="build",
        files=script("yes 0123456789012345678901234567890123456789012345678 | head -c 50000000"),
        says=("printed more than 16 MiB",),
        logs="the rest is left out",
        within_s=40,
    ),
    Broken(name="provider that crashes", files=provider("crash"), says=("bad", "plugin")),
    Broken(
        name="provider that hangs",
        files=provider("hang"),
        limits=msgspec.structs.replace(SMALL, time_s=3),
        says=("took longer than 3 seconds",),
    ),
    Broken(
        name="script that forks for ever",
        kind="build",
        files=script(f"f() {{ f | f & }}; f; sleep {MARK}"),
        says=("more than 250 processes",),
    ),
    Broken(
        name="daemon that forks for ever",
        kind="build",
        files=script(f"setsid sh -c 'while :; do setsid sleep {MARK} & done' & sleep {MARK}"),
        says=("more than 250 processes",),
    ),
    Broken(
        name="script that fills the disk with one file",
        kind="build",
        files=script("head -c 2000000000 /dev/zero > big"),
        says=("more than 20 MiB", "signal: file size limit exceeded", "exit status"),
    ),
    Broken(
        name="script that fills the disk with many",
        kind="build",
        files=script(f"i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done; sleep {MARK}"),
        says=("more than 20 MiB",),
    ),
    Broken(
        name="script that fills the memory",
        kind="build",
        files=script("head -c 2000000000 /dev/zero | tail -n 1 | wc -c; kill -9 $$"),
        says=("more than 600 MiB of memory",),
    ),
    Broken(
        name="plan that never ends",
        files={"main.tf": f'resource "terraform_data" "x" {{\n  input = {ENDLESS}\n}}\n'},
        limits=msgspec.structs.replace(SMALL, time_s=3),
        says=("took longer than 3 seconds", "more than 600 MiB of memory"),
    ),
    Broken(
        name="script that never ends",
        kind="build",
        files=script(f"trap '' INT TERM; while :; do sleep {MARK}; done"),
        limits=msgspec.structs.replace(SMALL, time_s=2),
        says=("took longer than 2 seconds",),
    ),
    Broken(
        name="daemon of a script that fails",
        kind="build",
        files=script(f"setsid sh -c 'setsid sleep {MARK} & sleep {MARK}' >/dev/null 2>&1 </dev/null & exit 3"),
        says=("exit status 3",),
    ),
]
