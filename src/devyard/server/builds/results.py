"""Turns a build's result into rows: resources, agents, apps, scripts, log sources, metadata.

Called by builds/actions. Pure but for the ids it makes; refuses results that the schema could not hold.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec

from devyard.server.builds.work_queries import WorkRow, list_tables
from devyard.wire.errors import Invalid
from devyard.wire.provisionerresults import AgentResult, AppResult, ResourceResult, ScriptResult

Rows = dict[str, list[dict[str, Any]]]


def decide_rows(resources: Sequence[ResourceResult], work: WorkRow, *, job_id: UUID, now: datetime) -> Rows:
    """The rows of each table for what a build made.

    Raises:
        Invalid: two agents of a workspace or two apps of an agent have the same name.
    """
    rows: Rows = {table: [] for table in list_tables()}
    names: set[str] = set()
    for resource in resources:
        resource_id = uuid4()
        rows["workspace_resources"].append(_resource_row(resource, resource_id, work, job_id, now))
        for position, agent in enumerate(sorted(resource.agents, key=lambda agent: agent.order)):
            if agent.name.lower() in names:
                raise Invalid(f'Two agents are named "{agent.name}"; agents of a workspace need different names.')
            names.add(agent.name.lower())
            _add_agent(rows, agent, resource_id, work, position, now)
    return rows


def _resource_row(
    resource: ResourceResult, resource_id: UUID, work: WorkRow, job_id: UUID, now: datetime
) -> dict[str, Any]:
    return {
        "id": resource_id,
        "build_id": work.build_id,
        "job_id": job_id,
        "address": resource.address,
        "transition": work.transition,
        "type": resource.type,
        "name": resource.name,
        "hide": resource.hide,
        "icon": resource.icon,
        "daily_cost": resource.daily_cost,
        # What is masked for everyone need not be kept.
        "metadata": [
            msgspec.to_builtins(msgspec.structs.replace(item, value="") if item.sensitive else item)
            for item in resource.metadata
        ],
        "created_at": now,
    }


def _add_agent(
    rows: Rows, agent: AgentResult, resource_id: UUID, work: WorkRow, position: int, now: datetime
) -> None:
    agent_id = uuid4()
    rows["workspace_agents"].append(
        {
            "id": agent_id,
            "resource_id": resource_id,
            "build_id": work.build_id,
            "workspace_id": work.workspace_id,
            "name": agent.name,
            "token_hash": hashlib.sha256(agent.token.encode()).digest(),
            "os": agent.os,
            "arch": agent.arch,
            "auth": agent.auth,
            "instance_id": agent.instance_id,
            "directory": agent.directory,
            "environment": dict(agent.environment),
            "motd_file": agent.motd_file,
            "position": position,
            "connection_timeout_s": agent.connection_timeout_s,
            "troubleshooting_url": agent.troubleshooting_url,
            "startup_behavior": agent.startup_behavior or "non-blocking",
            "api_key_scope": agent.api_key_scope,
            "display_apps": list(agent.display_apps),
            "monitors": msgspec.json.decode(agent.monitors) if agent.monitors else {},
            "created_at": now,
            "updated_at": now,
        }
    )
    _add_apps(rows, agent, agent_id)
    for index, script in enumerate(agent.scripts):
        _add_script(rows, script, agent_id, index, now)
    items = {item.key: item for item in agent.metadata}
    for index, item in enumerate(sorted(items.values(), key=lambda item: item.order)):
        rows["workspace_agent_metadata"].append(
            {
                "agent_id": agent_id,
                "key": item.key,
                "display_name": item.display_name,
                "script": item.script,
                "interval_s": item.interval_s,
                "timeout_s": item.timeout_s,
                "position": index,
            }
        )


def _add_apps(rows: Rows, agent: AgentResult, agent_id: UUID) -> None:
    slugs: set[str] = set()
    for position, app in enumerate(sorted(agent.apps, key=lambda app: app.order)):
        if app.slug in slugs:
            raise Invalid(f'Agent "{agent.name}" has two apps with the slug "{app.slug}"; slugs have to differ.')
        slugs.add(app.slug)
        rows["workspace_apps"].append(_app_row(app, agent_id, position))


def _app_row(app: AppResult, agent_id: UUID, position: int) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "agent_id": agent_id,
        "slug": app.slug,
        "display_name": app.display_name or app.slug,
        "url": app.url,
        "command": app.command,
        "icon": app.icon,
        "subdomain": app.subdomain,
        "sharing_level": app.share or "owner",
        "external": app.external,
        "health_url": app.health_url,
        "health_interval_s": app.health_interval_s,
        "health_threshold": app.health_threshold,
        "health": "initializing" if app.health_url else "disabled",
        "hidden": app.hidden,
        "open_in": app.open_in or "slim-window",
        "position": position,
        "group_name": app.group,
        "tooltip": app.tooltip,
    }


def _add_script(rows: Rows, script: ScriptResult, agent_id: UUID, position: int, now: datetime) -> None:
    source_id = uuid4()
    rows["workspace_agent_log_sources"].append(
        {
            "id": source_id,
            "agent_id": agent_id,
            "display_name": script.display_name,
            "icon": script.icon,
            "created_at": now,
        }
    )
    rows["workspace_agent_scripts"].append(
        {
            "id": uuid4(),
            "agent_id": agent_id,
            "log_source_id": source_id,
            "display_name": script.display_name,
            "script": script.script,
            "log_path": script.log_path,
            "cron": script.cron,
            "run_on_start": script.run_on_start,
            "run_on_stop": script.run_on_stop,
            "start_blocks_login": script.start_blocks_login,
            "timeout_s": script.timeout_s,
            "position": position,
        }
    )
