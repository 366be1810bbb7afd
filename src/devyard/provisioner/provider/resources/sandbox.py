"""`devyard_sandbox` and `devyard_sandbox_home`: an isolated environment on the provisioner's own machine.

Ids are derived from the workspace and counted: when Terraform is killed after a create and before its state
is saved, the next build comes upon the same id again, ends the forgotten sandbox and takes its home over.
"""

from collections.abc import Awaitable
from typing import TypeVar
from uuid import NAMESPACE_URL, uuid4, uuid5

from devyard.provisioner.provider.checks import not_empty, whole_number
from devyard.provisioner.provider.declarations import Call, Resource
from devyard.provisioner.provider.sandboxes import SandboxError, SandboxRuntime, SandboxSpec, SandboxStatus
from devyard.provisioner.provider.schema import STRING_MAP, Block, Values, computed, optional, required

_T = TypeVar("_T")


def _positive(value: float) -> str | None:
    return None if value > 0 else f"{value} is not allowed; use a number above 0."


def _host_name(value: str) -> str | None:
    labels = value.split(".")
    is_fit = len(value) <= 63 and all(
        label and label.replace("-", "").isalnum() and label.isascii() and label[0] != "-" and label[-1] != "-"
        for label in labels
    )
    return None if is_fit else f'"{value}" is no host name; use letters, digits and inner hyphens, at most 63.'


_HOME_BLOCK = Block(
    attributes={
        "id": computed("string", "Names the home to sandboxes."),
        "name": optional("string", "Tells several homes of one workspace apart.", not_empty, default="home"),
        "path": computed("string", "Where it lies on the provisioner's machine."),
    },
    doc="A home directory that outlives stops and starts and goes when the workspace is deleted.",
)

_SANDBOX_BLOCK = Block(
    attributes={
        "id": computed("string", "Names the sandbox."),
        "home_id": optional("string", "Its home directory; without one the home ends with the sandbox."),
        "init_script": required("string", "What it runs: usually an agent's init_script.", not_empty),
        "env": optional(STRING_MAP, "Environment variables of the script.", is_sensitive=True),
        "cpus": optional("number", "Processors it may use.", _positive),
        "memory_mb": optional("number", "Memory it may use, in MiB.", whole_number(1)),
        "hostname": optional("string", "Its host name.", _host_name),
        "pid": computed("number", "Its first process on the provisioner's machine."),
    },
    doc="An isolated environment on the provisioner's machine: own processes, /tmp and home.",
)


async def _create_home(call: Call, values: Values) -> Values:
    home_id = _choose_id(call, f"home/{values['name']}")
    runtime = _runtime(call)
    path = await _guarded(call, runtime.create_home(home_id, name=values["name"]) if runtime else None)
    return {"id": home_id, "path": str(path)}


async def _refresh_home(call: Call, values: Values, built_by: str) -> Values | None:
    if call.sandboxes is None:
        return values
    path = await _guarded(call, call.sandboxes.home_path(values["id"]))
    if call.problems:
        return values
    return None if path is None else {**values, "path": str(path)}


async def _delete_home(call: Call, values: Values) -> None:
    runtime = _runtime(call)
    await _guarded(call, runtime.delete_home(values["id"]) if runtime else None)


async def _create_sandbox(call: Call, values: Values) -> Values:
    runtime = _runtime(call)
    if runtime is None:
        return {}
    sandbox_id = _choose_id(call, f"sandbox/{values['home_id']}/{values['hostname']}")
    spec = SandboxSpec(
        id=sandbox_id,
        home_id=values["home_id"],
        init_script=values["init_script"],
        env=values["env"] or {},
        cpus=None if values["cpus"] is None else float(values["cpus"]),
        memory_mb=None if values["memory_mb"] is None else int(values["memory_mb"]),
        hostname=values["hostname"],
    )
    status = await _guarded(call, _start_afresh(runtime, spec))
    return {"id": sandbox_id, "pid": status.pid if status else None}


async def _start_afresh(runtime: SandboxRuntime, spec: SandboxSpec) -> SandboxStatus:
    if await runtime.find(spec.id) is not None:
        await runtime.stop(spec.id)
    return await runtime.start(spec)


async def _refresh_sandbox(call: Call, values: Values, built_by: str) -> Values | None:
    if call.sandboxes is None:
        return values
    status = await _guarded(call, call.sandboxes.find(values["id"]))
    if call.problems:
        return values
    return None if status is None else {**values, "pid": status.pid}


async def _delete_sandbox(call: Call, values: Values) -> None:
    runtime = _runtime(call)
    await _guarded(call, runtime.stop(values["id"]) if runtime else None)


def _runtime(call: Call) -> SandboxRuntime | None:
    if call.sandboxes is None:
        call.fail("This provisioner can't run sandboxes; build on one that can, or use another resource.")
    return call.sandboxes


async def _guarded(call: Call, step: Awaitable[_T] | None) -> _T | None:
    """Awaits a step of the runtime; its errors become diagnostics."""
    try:
        return None if step is None else await step
    except SandboxError as error:
        call.fail(str(error))
        return None


def _choose_id(call: Call, kind: str) -> str:
    """The first counted id that Terraform's state does not hold; a random one outside of a workspace."""
    if not call.context.workspace_id:
        return str(uuid4())
    number = 0
    while True:
        candidate = str(uuid5(NAMESPACE_URL, f"devyard:{call.context.workspace_id}/{kind}/{number}"))
        if candidate not in call.capture.known_ids:
            call.capture.known_ids.add(candidate)
            return candidate
        number += 1


RESOURCES = (
    Resource(
        name="sandbox_home",
        block=_HOME_BLOCK,
        create=_create_home,
        refresh=_refresh_home,
        delete=_delete_home,
        prefixes=("devyard",),
    ),
    Resource(
        name="sandbox",
        block=_SANDBOX_BLOCK,
        create=_create_sandbox,
        refresh=_refresh_sandbox,
        delete=_delete_sandbox,
        prefixes=("devyard",),
    ),
)
