"""Everything that the provider answers with: who builds which workspace of which template with which values.

The provisioner makes one `BuildContext` per job and hands it to its provider; nothing of it passes through
Terraform's environment. `from_environment` reads the variables that templates' own test tools set.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, TypeVar

import msgspec

_T = TypeVar("_T")

HASHED_PREFIX = "sha256:"
"""Marks a key of `parameters` that stands for a name known only by its hash (from the environment)."""

_BY_NAME = {
    "access_url": "AGENT_URL",
    "build_id": "WORKSPACE_BUILD_ID",
    "workspace_id": "WORKSPACE_ID",
    "workspace_name": "WORKSPACE_NAME",
    "template_id": "WORKSPACE_TEMPLATE_ID",
    "template_name": "WORKSPACE_TEMPLATE_NAME",
    "template_version": "WORKSPACE_TEMPLATE_VERSION",
    "owner_id": "WORKSPACE_OWNER_ID",
    "owner_name": "WORKSPACE_OWNER",
    "owner_full_name": "WORKSPACE_OWNER_NAME",
    "owner_email": "WORKSPACE_OWNER_EMAIL",
    "owner_login_type": "WORKSPACE_OWNER_LOGIN_TYPE",
    "owner_session_token": "WORKSPACE_OWNER_SESSION_TOKEN",
    "owner_oidc_access_token": "WORKSPACE_OWNER_OIDC_ACCESS_TOKEN",
    "owner_ssh_public_key": "WORKSPACE_OWNER_SSH_PUBLIC_KEY",
    "owner_ssh_private_key": "WORKSPACE_OWNER_SSH_PRIVATE_KEY",
    "task_id": "TASK_ID",
    "task_prompt": "TASK_PROMPT",
}


class OwnerRole(msgspec.Struct, frozen=True):
    """A role of the owner; `org_id` is empty for roles of the whole site."""

    name: str
    org_id: str = ""


class BuildContext(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one job. Defaults are those of a bare plan: no workspace, no build (`build_id=""`).

    `parameters`, `previous_parameters`: by parameter name. `agent_init_scripts`: by platform (`linux/amd64`),
    with the placeholders `${ACCESS_URL}` and `${AUTH_TYPE}`. `secrets_file`: by path as in the template.
    `is_form`: a data source with a problem returns its value all the same, and the capture holds the problem.
    """

    access_url: str = ""
    transition: Literal["start", "stop", "delete"] = "start"
    build_id: str = ""
    workspace_id: str = ""
    workspace_name: str = ""
    template_id: str = ""
    template_name: str = ""
    template_version: str = ""
    owner_id: str = ""
    owner_name: str = ""
    owner_full_name: str = ""
    owner_email: str = ""
    owner_login_type: str = ""
    owner_groups: tuple[str, ...] = ()
    owner_roles: tuple[OwnerRole, ...] = ()
    owner_session_token: str = ""
    owner_oidc_access_token: str = ""
    owner_ssh_public_key: str = ""
    owner_ssh_private_key: str = ""
    parameters: Mapping[str, str] = {}
    previous_parameters: Mapping[str, str] = {}
    is_prebuild: bool = False
    is_prebuild_claim: bool = False
    task_id: str = ""
    task_prompt: str = ""
    external_auth_tokens: Mapping[str, str] = {}
    secrets_env: Mapping[str, str] = {}
    secrets_file: Mapping[str, str] = {}
    running_agent_token: str = ""
    agent_init_scripts: Mapping[str, str] = {}
    is_form: bool = False
    refusal: str = ""
    """Why nothing can be answered: the environment says something that can't be. Configure says it to the user."""

    def __repr__(self) -> str:
        """Without a single value: many are secrets."""
        return f"BuildContext(build_id={self.build_id!r}, transition={self.transition!r})"

    def with_init_scripts(self, scripts: Mapping[str, str]) -> "BuildContext":
        """The same with these agent scripts."""
        return msgspec.structs.replace(self, agent_init_scripts=scripts)

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "BuildContext":
        """The context that the `CODER_*` variables of `env` describe.

        Raises ValueError naming a bad variable.
        """
        fields: dict[str, object] = {
            field: env[f"CODER_{name}"] for field, name in _BY_NAME.items() if f"CODER_{name}" in env
        }
        transition = env.get("CODER_WORKSPACE_TRANSITION", "").lower()
        names = {"": "start", "start": "start", "stop": "stop", "delete": "delete", "destroy": "delete"}
        if transition not in names:
            raise ValueError(f'CODER_WORKSPACE_TRANSITION is "{transition}"; use start, stop or delete')
        return cls(
            **fields,  # type: ignore[arg-type]  # every field named in _BY_NAME is a string
            transition=names[transition],  # type: ignore[arg-type]  # one of the three literals
            owner_groups=_json_variable(env, "CODER_WORKSPACE_OWNER_GROUPS", tuple[str, ...]),
            owner_roles=_json_variable(env, "CODER_WORKSPACE_OWNER_RBAC_ROLES", tuple[OwnerRole, ...]),
            parameters=_hashed_variables(env, "CODER_PARAMETER_"),
            previous_parameters=_hashed_variables(env, "CODER_PARAMETER_PREVIOUS_"),
            is_prebuild=env.get("CODER_WORKSPACE_IS_PREBUILD", "").lower() == "true",
            is_prebuild_claim=env.get("CODER_WORKSPACE_IS_PREBUILD_CLAIM", "").lower() == "true",
            external_auth_tokens={
                **_prefixed_variables(env, "CODER_GIT_AUTH_ACCESS_TOKEN_"),
                **_prefixed_variables(env, "CODER_EXTERNAL_AUTH_ACCESS_TOKEN_"),
            },
            secrets_env=_prefixed_variables(env, "CODER_SECRET_ENV_"),
            secrets_file=_file_secrets(env),
            running_agent_token=env.get(f"CODER_RUNNING_WORKSPACE_AGENT_TOKEN_{sha256(b'').hexdigest()}", ""),
            agent_init_scripts={
                platform.replace("_", "/", 1): script
                for platform, script in _prefixed_variables(env, "CODER_AGENT_SCRIPT_").items()
            },
        )


def find_parameter(values: Mapping[str, str], name: str) -> str | None:
    """The value of the parameter `name` in `parameters` or `previous_parameters`; None when not given."""
    if name in values:
        return values[name]
    return values.get(HASHED_PREFIX + sha256(name.encode()).hexdigest())


def _prefixed_variables(env: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in env.items() if key.startswith(prefix)}


def _hashed_variables(env: Mapping[str, str], prefix: str) -> dict[str, str]:
    found = _prefixed_variables(env, prefix)
    return {HASHED_PREFIX + digest: value for digest, value in found.items() if len(digest) == 64}


def _file_secrets(env: Mapping[str, str]) -> dict[str, str]:
    secrets = {}
    for digits, value in _prefixed_variables(env, "CODER_SECRET_FILE_").items():
        try:
            secrets[bytes.fromhex(digits).decode()] = value
        except ValueError:
            raise ValueError(f"CODER_SECRET_FILE_{digits} does not end in the hex digits of a path") from None
    return secrets


def _json_variable(env: Mapping[str, str], name: str, type_: type[_T]) -> _T:
    text = env.get(name) or "[]"
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.DecodeError as error:
        raise ValueError(f"{name} is no JSON list of the right shape: {error}") from None
