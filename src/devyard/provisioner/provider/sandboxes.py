"""What the provider asks of sandboxes: isolated environments on the provisioner's own machine.

`devyard_sandbox` and `devyard_sandbox_home` call a `SandboxRuntime`; devyard.provisioner.sandbox.runtime is
the one. Every call is idempotent: starting what runs and stopping what is gone both succeed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec


class SandboxError(Exception):
    """A sandbox or home could not be made, found or removed; the text is for the user and says what to do."""


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sandbox to start. `cpus` and `memory_mb` None: no limit; `home_id` None: a home that ends with it."""

    id: str
    home_id: str | None
    init_script: str
    env: Mapping[str, str]
    cpus: float | None = None
    memory_mb: int | None = None
    hostname: str | None = None


class SandboxStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A running sandbox; `pid` is its first process as the provisioner's machine sees it."""

    id: str
    pid: int


class SandboxRuntime(Protocol):
    """Starts, finds and stops sandboxes and keeps their home directories."""

    async def create_home(self, home_id: str, *, name: str) -> Path:
        """Makes the home directory, or finds it where it exists already."""
        ...

    async def home_path(self, home_id: str) -> Path | None:
        """Where the home lies; None when there is none."""
        ...

    async def delete_home(self, home_id: str) -> None:
        """Removes the home and all in it."""
        ...

    async def start(self, spec: SandboxSpec) -> SandboxStatus:
        """Starts the sandbox and its init script."""
        ...

    async def find(self, sandbox_id: str) -> SandboxStatus | None:
        """The sandbox if it runs."""
        ...

    async def stop(self, sandbox_id: str) -> None:
        """Ends the sandbox and everything in it."""
        ...
