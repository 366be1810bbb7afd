"""Puts a provider into a filesystem mirror, where `terraform init` finds it."""

import platform
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_provider(mirror: Path, source: str, version: str, schema: Path) -> Path:
    """The executable of `source` (`namespace/name`, or with a host before) below the mirror's directory."""
    host, namespace, name = ["registry.terraform.io", *source.split("/")][-3:]
    system = f"{platform.system().lower()}_{ARCHITECTURES[platform.machine()]}"
    directory = mirror / host / namespace / name / version / system
    directory.mkdir(parents=True)
    executable = directory / f"terraform-provider-{name}_v{version}"
    path = shlex.quote(f"{ROOT}:{ROOT / 'src'}")
    command = shlex.join([sys.executable, "-m", "tests.terraform_provider.executable", str(schema)])
    executable.write_text(f"#!/bin/sh\nPYTHONPATH={path} exec {command}\n", encoding="utf-8")
    executable.chmod(0o755)
    return executable


def cli_config(mirror: Path) -> str:
    """Terraform's CLI configuration that knows this mirror and nothing else."""
    return f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
