"""Agents as the API shows them, from their rows and the time. Called by the views of builds and by the routes."""

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import msgspec

from devyard.server.agents import rules
from devyard.server.agents.queries import AgentRow, AppRow, MetadataRow
from devyard.server.jobs.views import present
from devyard.wire.agents import AgentMetadata, AgentMetadataDescription, AgentMetadataResult
from devyard.wire.enums import DisplayApp, OpenIn, SharingLevel, StartupBehavior
from devyard.wire.workspaces import AgentLogSource, AgentScript, Healthcheck, WorkspaceAgent, WorkspaceApp

API_VERSION = "2.0"


def agent_view(row: AgentRow, *, workspace_name: str, owner_name: str, now: datetime) -> WorkspaceAgent:
    """The API's view of an agent; status and health follow from its times and `now`."""
    status = rules.decide_status(row.times, now)
    return WorkspaceAgent(
        id=row.id,
        parent_id=None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=status,
        lifecycle_state=row.lifecycle,
        name=row.name,
        resource_id=row.resource_id,
        architecture=row.arch,
        environment_variables=row.variables,
        operating_system=row.os,
        logs_length=row.logs_bytes,
        logs_overflowed=row.logs_overflowed,
        version=row.version,
        api_version=row.api_version,
        apps=[app_view(app, f"{row.name}--{workspace_name}--{owner_name}") for app in row.apps],
        connection_timeout_seconds=row.connection_timeout_s,
        troubleshooting_url=row.troubleshooting_url,
        subsystems=row.subsystems,
        health=rules.decide_health(status, row.lifecycle),
        display_apps=cast("list[DisplayApp]", row.display_apps),
        log_sources=[
            AgentLogSource(
                workspace_agent_id=row.id,
                id=source.id,
                created_at=source.created_at,
                display_name=source.display_name,
                icon=source.icon,
            )
            for source in row.log_sources
        ],
        scripts=[
            AgentScript(
                id=script.id,
                log_source_id=script.log_source_id,
                log_path=script.log_path,
                script=script.script,
                cron=script.cron,
                run_on_start=script.run_on_start,
                run_on_stop=script.run_on_stop,
                start_blocks_login=script.start_blocks_login,
                timeout=script.timeout_s,
                display_name=script.display_name,
            )
            for script in row.scripts
        ],
        startup_script_behavior=cast("StartupBehavior", row.startup_behavior),
        first_connected_at=present(row.first_connected_at),
        last_connected_at=present(row.last_connected_at),
        disconnected_at=present(row.disconnected_at),
        started_at=present(row.started_at),
        ready_at=present(row.ready_at),
        instance_id=present(row.instance_id or None),
        directory=present(row.directory or None),
        expanded_directory=present(row.expanded_directory or None),
    )


def app_view(row: AppRow, host_suffix: str) -> WorkspaceApp:
    """The API's view of an app; `host_suffix` is `<agent>--<workspace>--<owner>`."""
    return WorkspaceApp(
        id=row.id,
        slug=row.slug,
        display_name=row.display_name,
        external=row.external,
        subdomain=row.subdomain,
        sharing_level=cast("SharingLevel", row.sharing_level),
        healthcheck=Healthcheck(
            url=row.health_url, interval=row.health_interval_s, threshold=row.health_threshold
        ),
        health=row.health,
        hidden=row.hidden,
        open_in=cast("OpenIn", row.open_in),
        url=row.url,
        command=present(row.command or None),
        icon=present(row.icon or None),
        subdomain_name=f"{row.slug}--{host_suffix}" if row.subdomain else msgspec.UNSET,
        group=row.group_name,
        tooltip=row.tooltip,
        order=row.position,
    )


def metadata_views(rows: Sequence[MetadataRow], now: datetime) -> list[AgentMetadata]:
    """Measured values with their age; one that was never measured has the age 0 and no value."""
    return [
        AgentMetadata(
            description=AgentMetadataDescription(
                display_name=row.display_name,
                key=row.key,
                script=row.script,
                interval=row.interval_s,
                timeout=row.timeout_s,
            ),
            result=AgentMetadataResult(
                collected_at=row.collected_at,
                age=max(0, int((now - row.collected_at).total_seconds())) if row.collected_at.year > 1 else 0,
                value=row.value,
                error=row.error,
            ),
        )
        for row in rows
    ]
