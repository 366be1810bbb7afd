"""An agent with everything that refers to it: apps, scripts, environment, metadata.

Called by resources.py with instances that belong together. Invariant: every attribute that Terraform may leave
null has the provider's default here too.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from devyard.provisioner.results.instances import Instance
from devyard.wire.provisionerresults import AgentResult, AppResult, MetadataResult, ScriptResult

STARTUP_SCRIPT = "Startup Script"
SHUTDOWN_SCRIPT = "Shutdown Script"

_DISPLAY_APPS = {
    "vscode": True,
    "vscode_insiders": False,
    "web_terminal": True,
    "ssh_helper": True,
    "port_forwarding_helper": True,
}
_NAME = re.compile(r"[^A-Za-z0-9-]+")


class TemplateError(Exception):
    """What Terraform made does not fit together; the text names the block and says what to do."""


def describe_agent(
    agent: Instance, name: str, refer: Mapping[str, Sequence[Instance]], instance_id: str
) -> AgentResult:
    """The agent `agent` with what refers to it, by auxiliary type (`app`, `script`, `env`).

    Raises TemplateError.
    """
    return AgentResult(
        name=name,
        token=agent.text("token"),
        os=agent.text("os"),
        arch=agent.text("arch"),
        auth=agent.text("auth") or "token",
        instance_id=instance_id,
        directory=agent.text("dir"),
        environment=merge_environment(agent, refer.get("env", ())),
        motd_file=agent.text("motd_file"),
        order=agent.number("order"),
        connection_timeout_s=agent.number("connection_timeout", 120),
        troubleshooting_url=agent.text("troubleshooting_url"),
        startup_behavior=agent.text("startup_script_behavior") or "non-blocking",
        api_key_scope=agent.text("api_key_scope") or "all",
        display_apps=_list_display_apps(agent),
        apps=_describe_apps(refer.get("app", ())),
        scripts=(*_own_scripts(agent), *map(_describe_script, refer.get("script", ()))),
        metadata=tuple(map(_describe_metadata, agent.blocks("metadata"))),
        monitors=_describe_monitors(agent),
    )


def merge_environment(agent: Instance, additions: Sequence[Instance]) -> dict[str, str]:
    """The agent's `env` and its env blocks in the order of their addresses. Raises TemplateError."""
    own = agent.attributes.get("env")
    merged = {str(name): _as_text(value) for name, value in own.items()} if isinstance(own, dict) else {}
    for addition in sorted(additions, key=lambda instance: instance.address):
        name, value = addition.text("name"), addition.text("value")
        strategy = addition.text("merge_strategy") or "replace"
        if name not in merged or strategy == "replace":
            merged[name] = value
        elif strategy == "append":
            merged[name] = f"{merged[name]}:{value}"
        elif strategy == "prepend":
            merged[name] = f"{value}:{merged[name]}"
        else:
            raise TemplateError(
                f'{addition.address} sets the variable "{name}", which is set already, and its merge_strategy is'
                f' "{strategy}"; give it another name, or use replace, append or prepend.'
            )
    return merged


def name_agents(agents: Sequence[Instance]) -> dict[str, str]:
    """Address → name: the block's name, with the index key where a block has several. Raises TemplateError."""
    many = {label for label in (a.label for a in agents) if sum(a.label == label for a in agents) > 1}
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for agent in agents:
        name = agent.name
        if agent.label in many and agent.key is not None:
            name = f"{name}-{_NAME.sub('-', str(agent.key)).strip('-')}"
        other = taken.setdefault(name.lower(), agent.address)
        if other != agent.address:
            raise TemplateError(
                f'{other} and {agent.address} would both be the agent "{name}"; give one block another name.'
            )
        names[agent.address] = name
    return names


def _list_display_apps(agent: Instance) -> tuple[str, ...]:
    block = next(iter(agent.blocks("display_apps")), None)
    shown = dict(_DISPLAY_APPS)
    if block:
        shown |= {name: block.flag(name) for name in shown if block.attributes.get(name) is not None}
    return tuple(name for name, is_shown in shown.items() if is_shown)


def _own_scripts(agent: Instance) -> list[ScriptResult]:
    found = []
    if script := agent.text("startup_script"):
        is_blocking = agent.text("startup_script_behavior") == "blocking"
        found.append(_own_script(STARTUP_SCRIPT, script, "/emojis/25b6-fe0f.png", is_blocking=is_blocking))
    if script := agent.text("shutdown_script"):
        found.append(_own_script(SHUTDOWN_SCRIPT, script, "/emojis/25c0-fe0f.png", is_blocking=False))
    return found


def _own_script(name: str, script: str, icon: str, *, is_blocking: bool) -> ScriptResult:
    return ScriptResult(
        display_name=name,
        icon=icon,
        script=script,
        # Where people and published modules look for it.
        log_path=f"coder-{name.lower().replace(' ', '-')}.log",
        cron="",
        run_on_start=name == STARTUP_SCRIPT,
        run_on_stop=name == SHUTDOWN_SCRIPT,
        start_blocks_login=is_blocking,
        timeout_s=0,
    )


def _describe_script(script: Instance) -> ScriptResult:
    return ScriptResult(
        display_name=script.text("display_name") or script.name,
        icon=script.text("icon"),
        script=script.text("script"),
        log_path=script.text("log_path"),
        cron=script.text("cron"),
        run_on_start=script.flag("run_on_start"),
        run_on_stop=script.flag("run_on_stop"),
        start_blocks_login=script.flag("start_blocks_login"),
        timeout_s=script.number("timeout"),
    )


def _describe_apps(apps: Sequence[Instance]) -> tuple[AppResult, ...]:
    taken: dict[str, str] = {}
    for app in apps:
        slug = app.text("slug") or app.name
        other = taken.setdefault(slug, app.address)
        if other != app.address:
            raise TemplateError(f'{other} and {app.address} have the same slug "{slug}"; give one another.')
    return tuple(map(_describe_app, apps))


def _describe_app(app: Instance) -> AppResult:
    health = next(iter(app.blocks("healthcheck")), None)
    slug = app.text("slug") or app.name
    return AppResult(
        slug=slug,
        display_name=app.text("display_name") or slug,
        url=app.text("url"),
        command=app.text("command"),
        icon=app.text("icon"),
        subdomain=app.flag("subdomain"),
        share=app.text("share") or "owner",
        external=app.flag("external"),
        health_url=health.text("url") if health else "",
        health_interval_s=health.number("interval") if health else 0,
        health_threshold=health.number("threshold") if health else 0,
        hidden=app.flag("hidden"),
        open_in=app.text("open_in") or "slim-window",
        order=app.number("order"),
        group=app.text("group"),
        tooltip=app.text("tooltip"),
    )


def _describe_metadata(item: Instance) -> MetadataResult:
    return MetadataResult(
        key=item.text("key"),
        display_name=item.text("display_name") or item.text("key"),
        script=item.text("script"),
        interval_s=item.number("interval"),
        timeout_s=item.number("timeout"),
        order=item.number("order"),
    )


def _describe_monitors(agent: Instance) -> bytes:
    blocks = agent.attributes.get("resources_monitoring")
    return msgspec.json.encode(blocks[0]) if isinstance(blocks, list) and blocks else b""


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
