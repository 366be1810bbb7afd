"""`workspace`, `workspace_owner` and `provisioner`: who builds what, and where."""

import platform
import sys
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from devyard.provisioner.provider.declarations import Call, DataSource
from devyard.provisioner.provider.schema import STRINGS, Block, Values, computed

_PLACEHOLDER_ID = str(uuid5(NAMESPACE_URL, "devyard:no-workspace"))

_ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "armv7",
    "armv6l": "armv7",
    "i386": "386",
    "i686": "386",
}

_WORKSPACE_BLOCK = Block(
    attributes={
        "id": computed("string", "The workspace."),
        "name": computed("string", "Its name, unique for its owner."),
        "transition": computed("string", "`start` or `stop`."),
        "start_count": computed("number", "1 on start, else 0: for `count`."),
        "access_url": computed("string", "Where this installation is reached, without a slash at the end."),
        "access_port": computed("number", "The port of the access URL."),
        "template_id": computed("string", "The template."),
        "template_name": computed("string", "Its name."),
        "template_version": computed("string", "The version's name."),
        "is_prebuild": computed("bool", "Kept in reserve, without an owner yet."),
        "prebuild_count": computed("number", "1 for a workspace in reserve, else 0: for `count`."),
        "is_prebuild_claim": computed("bool", "A user takes it out of the reserve in this build."),
    },
    doc="The workspace that is built.",
)

_OWNER_BLOCK = Block(
    attributes={
        "id": computed("string", "The owner."),
        "name": computed("string", "User name."),
        "full_name": computed("string", "Name in full."),
        "email": computed("string", "Address."),
        "groups": computed(STRINGS, "Names of the groups the owner is in."),
        "login_type": computed("string", "How the owner signs in."),
        "rbac_roles": computed(("list", ("object", {"name": "string", "org_id": "string"})), "Roles."),
        "session_token": computed("string", "A token of the owner, new with each start.", is_sensitive=True),
        "oidc_access_token": computed(
            "string", "Token of the identity provider; empty for other sign-ins.", is_sensitive=True
        ),
        "ssh_public_key": computed("string", "Key for git over SSH."),
        "ssh_private_key": computed("string", "Key for git over SSH.", is_sensitive=True),
    },
    doc="The user whose workspace it is.",
)

_PROVISIONER_BLOCK = Block(
    attributes={
        "id": computed("string", "Names this data source."),
        "os": computed("string", "Operating system, as Go names it."),
        "arch": computed("string", "Processor, as Go names it; 32-bit ARM is `armv7`."),
    },
    doc="The machine that runs Terraform.",
)


def _read_workspace(call: Call, values: Values) -> Values:
    context = call.context
    if context.build_id:
        for name in ("template_id", "template_name", "template_version"):
            if not getattr(context, name):
                call.fail(f"The build did not say which {name} it is of; this is a defect, please report it.")
    is_start = context.transition == "start"
    is_in_reserve = context.is_prebuild and not context.is_prebuild_claim
    return {
        "id": context.workspace_id or _PLACEHOLDER_ID,
        "name": context.workspace_name or "default",
        "transition": "start" if is_start else "stop",
        "start_count": 1 if is_start else 0,
        "access_url": call.access_url,
        "access_port": _port(call.access_url),
        "template_id": context.template_id,
        "template_name": context.template_name,
        "template_version": context.template_version,
        "is_prebuild": is_in_reserve,
        "prebuild_count": 1 if is_in_reserve else 0,
        "is_prebuild_claim": context.is_prebuild_claim,
    }


def _read_owner(call: Call, values: Values) -> Values:
    context = call.context
    return {
        "id": context.owner_id or _PLACEHOLDER_ID,
        "name": context.owner_name or "default",
        "full_name": context.owner_full_name,
        "email": context.owner_email or "default@example.com",
        "groups": list(context.owner_groups),
        "login_type": context.owner_login_type,
        "rbac_roles": [{"name": role.name, "org_id": role.org_id} for role in context.owner_roles],
        "session_token": context.owner_session_token,
        "oidc_access_token": context.owner_oidc_access_token,
        "ssh_public_key": context.owner_ssh_public_key,
        "ssh_private_key": context.owner_ssh_private_key,
    }


def _read_provisioner(call: Call, values: Values) -> Values:
    machine = platform.machine().lower()
    system = "windows" if sys.platform == "win32" else sys.platform
    arch = _ARCHITECTURES.get(machine, machine)
    return {"id": str(uuid5(NAMESPACE_URL, f"devyard:{system}/{arch}")), "os": system, "arch": arch}


def _port(access_url: str) -> int:
    parts = urlsplit(access_url)
    return parts.port or (443 if parts.scheme == "https" else 80)


DATA_SOURCES = (
    DataSource(name="workspace", block=_WORKSPACE_BLOCK, read=_read_workspace),
    DataSource(name="workspace_owner", block=_OWNER_BLOCK, read=_read_owner),
    DataSource(name="provisioner", block=_PROVISIONER_BLOCK, read=_read_provisioner),
)
