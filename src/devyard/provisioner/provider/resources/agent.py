"""`agent`, and what only names one: `agent_instance`, `external_agent`, `devcontainer`.

An agent's token is new for every build: a refresh under another build id replaces it, so that a token that
leaked from an earlier build opens nothing. A prebuilt workspace that is claimed keeps its running agent's
token.
"""

from collections.abc import Iterator
from uuid import uuid4

from devyard.provisioner.provider.checks import (
    absolute_path,
    link,
    not_empty,
    one_of,
    whole_number,
)
from devyard.provisioner.provider.declarations import Call, Resource, find_duplicates, known
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import (
    STRING_MAP,
    Block,
    Nested,
    Values,
    computed,
    optional,
    required,
)
from devyard.provisioner.provider.values import UNKNOWN

OPERATING_SYSTEMS = ("linux", "darwin", "windows")
ARCHITECTURES = ("amd64", "armv7", "arm64")
AUTH_TYPES = ("token", "google-instance-identity", "aws-instance-identity", "azure-instance-identity")

DISPLAY_APPS = {
    "vscode": True,
    "vscode_insiders": False,
    "web_terminal": True,
    "ssh_helper": True,
    "port_forwarding_helper": True,
}
"""The built-in apps and whether they show when the template says nothing."""

_DISPLAY_APPS_BLOCK = Block(
    attributes={
        name: optional("bool", f"Show {name}.", default=is_shown) for name, is_shown in DISPLAY_APPS.items()
    },
    doc="Built-in apps that the dashboard shows for the agent.",
)

_METADATA_BLOCK = Block(
    attributes={
        "key": required("string", "Identifies the item.", not_empty),
        "script": required("string", "Prints the value.", not_empty),
        "interval": required("number", "Seconds between two runs.", whole_number(0)),
        "display_name": optional("string", "Shown in place of the key."),
        "timeout": optional("number", "Seconds after which a run is ended.", whole_number(0)),
        "order": optional("number", "Lower ones are shown first.", whole_number()),
    },
    doc="A value that the agent measures over and over.",
)

_THRESHOLD = required("number", "Percent in use at which users are told.", whole_number(0, 100))

_MONITORING_BLOCK = Block(
    attributes={},
    blocks={
        "memory": Nested(
            nesting="set",
            max_items=1,
            block=Block(attributes={"enabled": required("bool", "Watch memory."), "threshold": _THRESHOLD}),
        ),
        "volume": Nested(
            nesting="set",
            block=Block(
                attributes={
                    "path": required("string", "Where the volume is mounted.", absolute_path),
                    "enabled": required("bool", "Watch this volume."),
                    "threshold": _THRESHOLD,
                }
            ),
        ),
    },
    doc="Tells users before memory or disks run full.",
)

_AGENT_BLOCK = Block(
    attributes={
        "id": computed("string", "Names the agent to apps, scripts and variables."),
        "arch": required("string", "Processor of the workspace.", one_of(*ARCHITECTURES)),
        "os": required("string", "Operating system of the workspace.", one_of(*OPERATING_SYSTEMS)),
        "auth": optional("string", "How the agent signs in.", one_of(*AUTH_TYPES), default="token"),
        "api_key_scope": optional(
            "string",
            "`no_user_data` keeps the agent's token from the owner's keys and tokens.",
            one_of("all", "no_user_data"),
            default="all",
        ),
        "connection_timeout": optional(
            "number",
            "Seconds until an agent that has not connected counts as timed out; 0: never.",
            whole_number(0),
            default=120,
        ),
        "dir": optional("string", "Where shells start; the home directory by default."),
        "env": optional(STRING_MAP, "Environment variables of the workspace."),
        "motd_file": optional("string", "A file in the workspace that is shown at sign-in."),
        "order": optional("number", "Lower ones are shown first.", whole_number()),
        "startup_script": optional("string", "Runs when the agent has started."),
        "shutdown_script": optional("string", "Runs before the workspace stops."),
        "startup_script_behavior": optional(
            "string",
            "`blocking`: users wait until the startup script has ended.",
            one_of("blocking", "non-blocking"),
            default="non-blocking",
        ),
        "troubleshooting_url": optional("string", "A page that helps when the agent does not connect.", link),
        "init_script": computed("string", "Starts the agent: run it in the workspace."),
        "token": computed("string", "Signs the agent in.", is_sensitive=True),
    },
    blocks={
        "display_apps": Nested(nesting="set", max_items=1, block=_DISPLAY_APPS_BLOCK),
        "metadata": Nested(nesting="list", block=_METADATA_BLOCK),
        "resources_monitoring": Nested(nesting="set", max_items=1, block=_MONITORING_BLOCK),
    },
    doc="The program that runs in a workspace and connects it.",
)


def _check_agent(values: Values) -> Iterator[Problem]:
    yield from find_duplicates(values["metadata"], "key", ("metadata",))
    monitoring = known(values["resources_monitoring"]) or ()
    for volumes in (known(each["volume"]) or () for each in monitoring if each is not UNKNOWN):
        for problem in find_duplicates(volumes, "path", ("volume",)):
            yield Problem(problem.message, ("resources_monitoring",))


async def _create_agent(call: Call, values: Values) -> Values:
    platform = f"{values['os']}/{values['arch']}"
    script = call.context.agent_init_scripts.get(platform)
    if script is None and call.is_real_start:
        served = ", ".join(sorted(call.context.agent_init_scripts)) or "none"
        call.fail(f"This server has no agent for {platform}; it has agents for: {served}.", "arch")
    return {
        "init_script": render_init_script(script or "", call.access_url, values["auth"]),
        "token": _new_token(call),
    }


async def _refresh_agent(call: Call, values: Values, built_by: str) -> Values:
    fresh = dict(values)
    script = call.context.agent_init_scripts.get(f"{values['os']}/{values['arch']}")
    if script is not None:
        fresh["init_script"] = render_init_script(script, call.access_url, values["auth"] or "token")
    if call.context.running_agent_token or (call.context.build_id and call.context.build_id != built_by):
        fresh["token"] = _new_token(call)
    return fresh


def render_init_script(script: str, access_url: str, auth: str) -> str:
    """The script with its two placeholders replaced by plain text."""
    return script.replace("${ACCESS_URL}", access_url).replace("${AUTH_TYPE}", auth)


def _new_token(call: Call) -> str:
    return call.context.running_agent_token or str(uuid4())


async def _create_devcontainer(call: Call, values: Values) -> Values:
    return {"subagent_id": str(uuid4())}


RESOURCES = (
    Resource(
        name="agent",
        block=_AGENT_BLOCK,
        check=_check_agent,
        create=_create_agent,
        refresh=_refresh_agent,
    ),
    Resource(
        name="agent_instance",
        block=Block(
            attributes={
                "id": computed("string", "Names this resource."),
                "agent_id": required("string", "The agent that runs on the instance."),
                "instance_id": required("string", "The cloud's name of the instance."),
            },
            doc="Tells which cloud instance an agent runs on, for agents that sign in as the instance.",
        ),
    ),
    Resource(
        name="external_agent",
        block=Block(
            attributes={
                "id": computed("string", "Names this resource."),
                "agent_id": required("string", "The agent that a person starts elsewhere."),
            },
            doc="Marks an agent as started by hand on a machine that Terraform does not make.",
        ),
    ),
    Resource(
        name="devcontainer",
        block=Block(
            attributes={
                "id": computed("string", "Names this resource."),
                "agent_id": required("string", "The agent that starts the dev container."),
                "workspace_folder": required("string", "The project's folder in the workspace.", not_empty),
                "config_path": optional("string", "The devcontainer.json, if not in its usual place."),
                "subagent_id": computed("string", "The agent inside the dev container: apps may name it."),
            },
            doc="A dev container that the agent starts.",
        ),
        create=_create_devcontainer,
    ),
)
