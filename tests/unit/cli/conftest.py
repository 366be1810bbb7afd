"""The CLI in this process, against an API that the test scripts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devyard.cli.root import run_command
from devyard.sdk.session import Session, write_session
from tests.unit.cli.fakeapi import TOKEN, FakeApi


@dataclass
class Outcome:
    """What a command left."""

    status: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as fake:
        yield fake


@pytest.fixture
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import os

    for name in list(os.environ):
        if name.startswith(("DEVYARD_", "CODER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DEVYARD_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def cli(config_dir: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        status = run_command(arguments)
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    return call


@pytest.fixture
def signed_in(api: FakeApi, config_dir: Path) -> FakeApi:
    """The API of a server that the CLI is signed in to."""
    write_session(str(config_dir), Session(api.url, TOKEN))
    return api
