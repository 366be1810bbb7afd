"""What `devyard ssh` was asked for: read by command.py, used by what carries the session."""

from datetime import timedelta
from pathlib import Path

import msgspec

from devyard.cli.workspaces.waiting import WaitMode


class SshOptions(msgspec.Struct, frozen=True):
    """The command line, as Click read it."""

    workspace: str
    command: tuple[str, ...]
    stdio: bool
    ssh_host_prefix: str
    hostname_suffix: str
    wait: WaitMode
    no_wait: bool
    disable_autostart: bool
    forward_agent: bool
    identity_agent: str
    remote_forward: tuple[str, ...]
    environment: tuple[str, ...]
    usage_app: str
    network_info_dir: Path | None
    network_info_interval: timedelta
    log_dir: Path | None
    workspace_poll_interval: timedelta
