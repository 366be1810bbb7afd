"""What a relay is told at its start: by the supervisor over the control pipe, or by its own command line."""

import msgspec

from devyard.runtime.logs import LogFormat, LogLevel


class RelayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one relay. `listen_fd` is an inherited listening socket, `handover_path` a unix socket to
    make.
    """

    listen_fd: int
    handover_path: str
    spares_per_agent: int = 64
    spares_total: int = 20_000
    streams_per_user: int = 256
    streams_per_workspace: int = 512
    waiting_connections: int = 1024
    waiting_s: float = 15.0
    attach_s: float = 5.0
    log_format: LogFormat = "human"
    log_level: LogLevel = "info"
