"""What of a spec is refused before anything is done."""

import msgspec
import pytest

from devyard.provisioner.provider.sandboxes import SandboxError, SandboxSpec
from devyard.provisioner.sandbox.spec import check_spec

GOOD = SandboxSpec(
    id="0b0b9a52-7d3e-4f0e-9d4b-2f0f3f0f3f0f",
    home_id="home-1",
    init_script="exec devyard agent",
    env={"CODER_AGENT_TOKEN": "x", "_A1": ""},
    cpus=0.5,
    memory_mb=512,
    hostname="ws-1.example",
)


def test_a_usual_spec_passes() -> None:
    check_spec(GOOD)
    check_spec(msgspec.structs.replace(GOOD, home_id=None, cpus=None, memory_mb=None, hostname=None, env={}))


@pytest.mark.parametrize(
    "field, value, named",
    [
        ("id", "../x", "sandbox id"),
        ("id", "", "sandbox id"),
        ("id", "x\n", "sandbox id"),
        ("home_id", "a/b", "home id"),
        ("home_id", ".", "home id"),
        ("hostname", "-x", "hostname"),
        ("hostname", "a" * 64, "hostname"),
        ("hostname", "x\n127.0.0.1 bank.example", "hostname"),
        ("hostname", "a..b", "hostname"),
        ("cpus", 0.0, "cpus"),
        ("cpus", float("nan"), "cpus"),
        ("cpus", float("inf"), "cpus"),
        ("memory_mb", 1, "memory_mb"),
        ("memory_mb", -5, "memory_mb"),
        ("init_script", " \n", "init_script"),
        ("init_script", "a\0b", "init_script"),
        ("init_script", "x" * 100_000, "init_script"),
        ("env", {"A=B": "x"}, "A=B"),
        ("env", {"": "x"}, "environment variable"),
        ("env", {"A": "x\0y"}, "A: its value"),
        ("env", {"A": "x" * 100_000}, "A: its value"),
        ("env", {f"A{i}": "x" * 90_000 for i in range(4)}, "environment takes"),
    ],
)
def test_what_is_refused_is_named(field: str, value: object, named: str) -> None:
    with pytest.raises(SandboxError, match=named):
        check_spec(msgspec.structs.replace(GOOD, **{field: value}))
