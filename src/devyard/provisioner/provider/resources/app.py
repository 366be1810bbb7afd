"""`app` and `ai_task`: what users open from the dashboard.

An app is reached by URL through a relay, by a command in a terminal, or is a link to elsewhere (`external`).
"""

from collections.abc import Iterator

from devyard.provisioner.provider.checks import (
    app_slug,
    at_most_characters,
    link,
    not_empty,
    one_of,
    whole_number,
)
from devyard.provisioner.provider.declarations import Call, Resource, known
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import Block, Nested, Values, computed, optional, required

_HEALTHCHECK_BLOCK = Block(
    attributes={
        "url": required("string", "Asked by the agent; an answer below 500 is healthy.", not_empty, link),
        "interval": required("number", "Seconds between two questions.", whole_number(1)),
        "threshold": required("number", "Failures in a row that make it unhealthy.", whole_number(1)),
    },
    doc="How the agent finds out whether the app is ready.",
)

_APP_BLOCK = Block(
    attributes={
        "id": computed("string", "Names the app to tasks."),
        "agent_id": required("string", "The agent that runs the app."),
        "slug": required("string", "Names the app in URLs; unique in the workspace.", app_slug),
        "display_name": optional("string", "Shown in place of the slug.", at_most_characters(64)),
        "url": optional("string", "Where the app listens, as the agent sees it; or where `external` leads."),
        "command": optional("string", "Runs in a terminal in place of a URL."),
        "icon": optional("string", "A picture: URL, or path of the dashboard.", link),
        "subdomain": optional("bool", "Serve it on a host name of its own; needs a wildcard access URL."),
        "share": optional(
            "string",
            "Who may open it beside the owner.",
            one_of("owner", "authenticated", "public"),
            default="owner",
        ),
        "external": optional("bool", "Only a link; no traffic goes through us.", default=False),
        "hidden": optional("bool", "Keep it out of the dashboard.", default=False),
        "open_in": optional("string", "Where it opens.", one_of("slim-window", "tab"), default="slim-window"),
        "order": optional("number", "Lower ones are shown first.", whole_number()),
        "group": optional("string", "Apps of one group share a menu.", at_most_characters(64)),
        "tooltip": optional("string", "Markdown shown on hover.", at_most_characters(2048)),
    },
    blocks={"healthcheck": Nested(nesting="set", max_items=1, block=_HEALTHCHECK_BLOCK)},
    doc="A shortcut to something that runs in the workspace.",
)


def _check_app(values: Values) -> Iterator[Problem]:
    has_command = bool(known(values["command"]))
    if has_command and known(values["url"]):
        yield Problem("An app has a url or a command, not both; leave one out.", ("command",))
    if has_command and known(values["subdomain"]):
        yield Problem("A command has no host name: leave out subdomain.", ("subdomain",))
    if known(values["external"]):
        yield from _check_external(values)


def _check_external(values: Values) -> Iterator[Problem]:
    for name in ("healthcheck", "command", "subdomain"):
        if known(values[name]):
            yield Problem(f"An external app is only a link: leave out {name}.", (name,))
    if known(values["share"]) not in (None, "owner"):
        yield Problem("An external app is only a link, which can't be shared: leave out share.", ("share",))


def _check_ai_task(values: Values) -> Iterator[Problem]:
    if known(values["app_id"]) and known(values["sidebar_app"]):
        yield Problem("Use app_id alone; sidebar_app is its old name.", ("sidebar_app",))


async def _create_ai_task(call: Call, values: Values) -> Values:
    if any(resource.type == "ai_task" for resource in call.capture.created):
        call.fail("A template can have one ai_task; this is the second one.")
    return {"prompt": call.context.task_prompt, "enabled": bool(call.context.task_id)}


RESOURCES = (
    Resource(name="app", block=_APP_BLOCK, check=_check_app),
    Resource(
        name="ai_task",
        block=Block(
            attributes={
                "id": computed("string", "Names this resource."),
                "app_id": optional("string", "The app that shows the task's conversation."),
                "prompt": computed("string", "What the task is to do."),
                "enabled": computed("bool", "Whether this workspace was made for a task."),
            },
            blocks={
                "sidebar_app": Nested(
                    nesting="set",
                    max_items=1,
                    is_deprecated=True,
                    block=Block(attributes={"id": required("string", "The app; use app_id instead.")}),
                )
            },
            doc="Makes workspaces of this template usable for tasks.",
        ),
        check=_check_ai_task,
        create=_create_ai_task,
    ),
)
