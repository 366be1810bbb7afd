"""Whose values a connection of Terraform gets: those of its own process's environment, over the provider's.

Used by the plugin executable and by `devyard provider serve`. Invariant: only `CODER_*` and `DEVYARD_*` variables
are looked at, and nothing of them is logged.
"""

from collections.abc import Mapping
from pathlib import Path

import structlog

from devyard.provisioner.context import BuildContext
from devyard.provisioner.initscript import list_init_scripts
from devyard.provisioner.provider.relay import Peer
from devyard.provisioner.provider.service import ProviderJob

_PREFIX = b"CODER_"
MAX_ENVIRONMENT_BYTES = 4 << 20
_log = structlog.get_logger(__name__)


def find_job(own: Mapping[str, str], peer: Peer | None) -> ProviderJob:
    """A job of its own for a connection. `peer` None: only the provider's `own` environment counts."""
    variables = {name: value for name, value in own.items() if name.startswith(_PREFIX.decode())}
    if peer is not None:
        variables |= read_variables(peer.pid)
    try:
        context = BuildContext.from_environment(variables)
    except ValueError as error:
        return ProviderJob(BuildContext(refusal=f"{error}."))
    if not context.agent_init_scripts:
        context = context.with_init_scripts(list_init_scripts())
    return ProviderJob(context)


def read_variables(pid: int) -> dict[str, str]:
    """The `CODER_*` variables with which a process of this user was started; empty when they can't be read."""
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            block = file.read(MAX_ENVIRONMENT_BYTES)
    except OSError as error:
        _log.warning("environment of Terraform can't be read; the provider's own counts", pid=pid, why=str(error))
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry.startswith(_PREFIX))
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}
