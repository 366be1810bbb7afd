"""The agent's control connection: one WebSocket, msgpack messages, each a tagged struct.

The agent dials `CONNECT_PATH` with its token in the session header. The server holds the request while the
build that made the token is still running, and answers 403 to an agent of an older build. After the upgrade
the server sends `Manifest`; the agent reports what happens; either side may ping on the WebSocket level.
Every report is numbered per connection (`seq`) and acknowledged in batches, so that an agent keeps what the
server has not stored yet and sends it again after a reconnect.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from devyard.wire.enums import AgentLifecycle, AppHealth, LogLevel, StartupBehavior
from devyard.wire.streams import RelayAccess

CONNECT_PATH = "/api/v2/workspaceagents/me/connect"
MAX_MESSAGE_BYTES = 1 << 20
LOG_BYTES_PER_AGENT = 1 << 20
"""Logs of one agent kept by the server; what comes after is dropped and the agent marked as overflowed."""


class Script(msgspec.Struct, frozen=True):
    """A script to run; `timeout_s` 0 means none, `cron` has six fields (seconds first) or is empty."""

    id: UUID
    log_source_id: UUID
    display_name: str
    script: str
    log_path: str
    cron: str
    run_on_start: bool
    run_on_stop: bool
    start_blocks_login: bool
    timeout_s: int


class MetadataItem(msgspec.Struct, frozen=True):
    """A value to measure every `interval_s` seconds; `timeout_s` 0 takes the interval."""

    key: str
    display_name: str
    script: str
    interval_s: int
    timeout_s: int


class App(msgspec.Struct, frozen=True):
    """An app whose health the agent probes (`health_url` empty: not probed)."""

    id: UUID
    slug: str
    url: str
    health_url: str
    health_interval_s: int
    health_threshold: int


# Server → agent


class Manifest(msgspec.Struct, frozen=True, tag="manifest"):
    """All that the agent needs to know to serve; sent first, and again whenever it changes."""

    agent_id: UUID
    agent_name: str
    workspace_id: UUID
    workspace_name: str
    owner_id: UUID
    owner_name: str
    owner_full_name: str
    owner_email: str
    access_url: str
    directory: str
    environment: dict[str, str]
    motd_file: str
    startup_behavior: StartupBehavior
    scripts: list[Script]
    metadata: list[MetadataItem]
    apps: list[App]
    relays: list[RelayAccess]
    git_ssh_private_key: str = ""
    stats_interval_s: int = 30


class Relays(msgspec.Struct, frozen=True, tag="relays"):
    """Fresh tickets, sent before the old ones run out."""

    relays: list[RelayAccess]


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Everything up to and including `seq` is stored."""

    seq: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """This agent is no longer wanted (a newer build, a deleted workspace): run stop scripts and exit."""

    reason: str


ServerMessage = Manifest | Relays | Ack | Shutdown

# Agent → server


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of the agent. `host_keys` are public SSH keys in OpenSSH's format."""

    version: str
    os: str
    arch: str
    expanded_directory: str
    host_keys: list[str]
    subsystems: list[str] = []


class Lifecycle(msgspec.Struct, frozen=True, tag="lifecycle"):
    """The agent entered a state at a time."""

    seq: int
    state: AgentLifecycle
    changed_at: datetime


class LogLine(msgspec.Struct, frozen=True):
    """One line, at most 1 KiB of it kept by the server."""

    created_at: datetime
    output: str
    level: LogLevel = "info"


class Logs(msgspec.Struct, frozen=True, tag="logs"):
    """Lines of one source; at most 200 lines a message."""

    seq: int
    source_id: UUID
    lines: list[LogLine]


class MetadataValue(msgspec.Struct, frozen=True):
    """A measurement; value and error at most 2 KiB each."""

    key: str
    value: str
    error: str
    collected_at: datetime


class Metadata(msgspec.Struct, frozen=True, tag="metadata"):
    """Measurements since the last message; only the newest of a key matters."""

    seq: int
    values: list[MetadataValue]


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Counts since the last message (bytes, sessions opened are gauges of now). Latency in ms, -1 unknown."""

    seq: int
    rx_bytes: int
    tx_bytes: int
    ssh_sessions: int
    vscode_sessions: int
    jetbrains_sessions: int
    terminal_sessions: int
    connection_count: int
    latency_ms: float


class AppHealths(msgspec.Struct, frozen=True, tag="app_healths"):
    """Health of apps that changed."""

    seq: int
    healths: dict[str, AppHealth]


class ScriptRun(msgspec.Struct, frozen=True, tag="script_run"):
    """A script ended."""

    seq: int
    script_id: UUID
    stage: Literal["start", "stop", "cron"]
    status: Literal["ok", "exit_failure", "timed_out", "pipes_left_open"]
    exit_code: int
    started_at: datetime
    ended_at: datetime


AgentMessage = Hello | Lifecycle | Logs | Metadata | Stats | AppHealths | ScriptRun
