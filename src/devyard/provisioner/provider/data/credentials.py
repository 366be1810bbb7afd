"""`external_auth`, `secret` and `task`: what a user brings into a build."""

from collections.abc import Iterator
from uuid import NAMESPACE_URL, uuid5

from devyard.provisioner.provider.capture import CapturedExternalAuth, CapturedSecret
from devyard.provisioner.provider.checks import environment_name, not_empty
from devyard.provisioner.provider.declarations import Call, DataSource
from devyard.provisioner.provider.problems import Problem
from devyard.provisioner.provider.schema import Block, Values, computed, optional, required
from devyard.provisioner.provider.values import UNKNOWN


def _secret_path(value: str) -> str | None:
    if value.startswith(("~/", "/")):
        return None
    return f'"{value}" is not allowed; the path begins with "~/" or "/".'


_EXTERNAL_AUTH_BLOCK = Block(
    attributes={
        "id": required("string", "The external sign-in, as the administrator named it.", not_empty),
        "optional": optional("bool", "Whether users may go without it.", default=False),
        "access_token": computed("string", "The owner's token there; empty without one.", is_sensitive=True),
    },
    doc="The owner's access to another service, such as a git host.",
)

_SECRET_BLOCK = Block(
    attributes={
        "id": computed("string", "`env:NAME` or `file:PATH`."),
        "env": optional("string", "The secret that the owner keeps for this variable.", environment_name),
        "file": optional("string", "The secret that the owner keeps for this file.", _secret_path),
        "help_message": required("string", "What users read who have no such secret.", not_empty),
        "value": computed("string", "The secret; empty without one.", is_sensitive=True),
    },
    doc="A secret of the owner.",
)

_TASK_BLOCK = Block(
    attributes={
        "id": computed("string", "The task, if there is one."),
        "prompt": computed("string", "What it is to do."),
        "enabled": computed("bool", "Whether this workspace was made for a task."),
    },
    doc="The task that the workspace was made for.",
)


def _read_external_auth(call: Call, values: Values) -> Values:
    found = CapturedExternalAuth(id=values["id"], is_optional=values["optional"])
    if found not in call.capture.external_auths:
        call.capture.external_auths.append(found)
    return {"access_token": call.context.external_auth_tokens.get(values["id"], "")}


def _check_secret(values: Values) -> Iterator[Problem]:
    env, file = values["env"], values["file"]
    if env is UNKNOWN or file is UNKNOWN:
        return
    if bool(env) == bool(file):
        yield Problem("A secret names exactly one of env and file.", ("env",))


def _read_secret(call: Call, values: Values) -> Values:
    context = call.context
    env, file = values["env"] or "", values["file"] or ""
    value = context.secrets_env.get(env, "") if env else context.secrets_file.get(file, "")
    secret = CapturedSecret(env=env, file=file, help_message=values["help_message"], is_missing=not value)
    if secret not in call.capture.secrets:
        call.capture.secrets.append(secret)
    if not value and call.is_real_start:
        call.fail(f'You have no secret for "{env or file}". {values["help_message"]}', "env" if env else "file")
    return {"id": f"env:{env}" if env else f"file:{file}", "value": value}


def _read_task(call: Call, values: Values) -> Values:
    call.capture.has_ai_task = True
    task_id = call.context.task_id
    return {
        "id": task_id or str(uuid5(NAMESPACE_URL, "devyard:no-task")),
        "prompt": call.context.task_prompt,
        "enabled": bool(task_id),
    }


DATA_SOURCES = (
    DataSource(name="external_auth", block=_EXTERNAL_AUTH_BLOCK, read=_read_external_auth),
    DataSource(name="secret", block=_SECRET_BLOCK, check=_check_secret, read=_read_secret),
    DataSource(name="task", block=_TASK_BLOCK, read=_read_task),
)
