"""What a job's result is made of: resources with their agents, variables, presets, spans of time.

Parts of the messages in provisionerlink.py; made by provisioners, turned into rows by the server.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """A span of the build. Stage: queue, claim, prepare, init, plan, graph, apply, state."""

    stage: str
    source: str
    action: str
    resource: str
    started_at: datetime
    ended_at: datetime


class AppResult(msgspec.Struct, frozen=True):
    """A `coder_app`."""

    slug: str
    display_name: str
    url: str
    command: str
    icon: str
    subdomain: bool
    share: str
    external: bool
    health_url: str
    health_interval_s: int
    health_threshold: int
    hidden: bool
    open_in: str
    order: int
    group: str
    tooltip: str


class ScriptResult(msgspec.Struct, frozen=True):
    """A `coder_script`, or the agent's own startup or shutdown script."""

    display_name: str
    icon: str
    script: str
    log_path: str
    cron: str
    run_on_start: bool
    run_on_stop: bool
    start_blocks_login: bool
    timeout_s: int


class MetadataResult(msgspec.Struct, frozen=True):
    """A metadata block of an agent."""

    key: str
    display_name: str
    script: str
    interval_s: int
    timeout_s: int
    order: int


class AgentResult(msgspec.Struct, frozen=True, kw_only=True):
    """A `coder_agent` with all that refers to it; `environment` is merged with its `coder_env`s."""

    name: str
    token: str
    os: str
    arch: str
    auth: str
    instance_id: str = ""
    directory: str = ""
    environment: Mapping[str, str] = {}
    motd_file: str = ""
    order: int = 0
    connection_timeout_s: int = 120
    troubleshooting_url: str = ""
    startup_behavior: str = "non-blocking"
    api_key_scope: str = "all"
    display_apps: tuple[str, ...] = ()
    apps: tuple[AppResult, ...] = ()
    scripts: tuple[ScriptResult, ...] = ()
    metadata: tuple[MetadataResult, ...] = ()
    monitors: bytes = b""
    """`resources_monitoring` as JSON, or empty."""


class ResourceMetadataResult(msgspec.Struct, frozen=True):
    """A `coder_metadata` item."""

    key: str
    value: str
    sensitive: bool


class ResourceResult(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that people see: everything but data sources and the provider's own auxiliary types."""

    address: str
    type: str
    name: str
    instance_type: str = ""
    hide: bool = False
    icon: str = ""
    daily_cost: int = 0
    metadata: tuple[ResourceMetadataResult, ...] = ()
    agents: tuple[AgentResult, ...] = ()


class TemplateVariableResult(msgspec.Struct, frozen=True):
    """A `variable` block of the template; a sensitive default is left empty."""

    name: str
    description: str
    type: str
    default_value: str
    required: bool
    sensitive: bool


class PresetResult(msgspec.Struct, frozen=True):
    """A `coder_workspace_preset`."""

    name: str
    parameters: Mapping[str, str]
    is_default: bool = False
    description: str = ""
    icon: str = ""
