"""The provisioner of tests/e2e/engine, in a hurry: a job that went beyond its limits gets one second to end."""

from pathlib import Path

import pytest

from devyard.provisioner.jobs import bounds
from tests.e2e.engine.conftest import backend, server, session, terraform  # noqa: F401  (fixtures)

from .table import PROVIDERS


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "OVERRUN_GRACE_S", 1.0)
    monkeypatch.setattr(bounds, "MAX_OUTPUT_BYTES", 16 << 20)


@pytest.fixture(autouse=True)
def _mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Third-party providers that do harm, in a filesystem mirror."""
    for name, program in PROVIDERS.items():
        path = tmp_path / f"mirror/example.com/tests/{name}/1.0.0/linux_amd64/terraform-provider-{name}_v1.0.0"
        path.parent.mkdir(parents=True)
        path.write_text(program)
        path.chmod(0o755)
    config = tmp_path / "terraform.rc"
    config.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{tmp_path}/mirror"\n  }}\n}}\n'
    )
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(config))
