"""The environment contract: every variable ends up in its field, and secrets stay out of representations."""

from hashlib import sha256

import pytest

from devyard.provisioner.context import BuildContext, OwnerRole, find_parameter


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


ENVIRONMENT = {
    "CODER_AGENT_URL": "https://dev.example.com",
    "CODER_AGENT_SCRIPT_linux_amd64": "run",
    "CODER_WORKSPACE_TRANSITION": "stop",
    "CODER_WORKSPACE_ID": "w1",
    "CODER_WORKSPACE_NAME": "dev",
    "CODER_WORKSPACE_BUILD_ID": "b1",
    "CODER_WORKSPACE_TEMPLATE_ID": "t1",
    "CODER_WORKSPACE_TEMPLATE_NAME": "local",
    "CODER_WORKSPACE_TEMPLATE_VERSION": "one",
    "CODER_WORKSPACE_OWNER": "ada",
    "CODER_WORKSPACE_OWNER_ID": "u1",
    "CODER_WORKSPACE_OWNER_NAME": "Ada L",
    "CODER_WORKSPACE_OWNER_EMAIL": "ada@example.com",
    "CODER_WORKSPACE_OWNER_LOGIN_TYPE": "password",
    "CODER_WORKSPACE_OWNER_GROUPS": '["staff"]',
    "CODER_WORKSPACE_OWNER_RBAC_ROLES": '[{"name": "owner", "org_id": ""}]',
    "CODER_WORKSPACE_OWNER_SESSION_TOKEN": "s",
    "CODER_WORKSPACE_OWNER_OIDC_ACCESS_TOKEN": "o",
    "CODER_WORKSPACE_OWNER_SSH_PUBLIC_KEY": "pub",
    "CODER_WORKSPACE_OWNER_SSH_PRIVATE_KEY": "priv",
    "CODER_WORKSPACE_IS_PREBUILD": "TRUE",
    "CODER_WORKSPACE_IS_PREBUILD_CLAIM": "false",
    "CODER_TASK_ID": "k1",
    "CODER_TASK_PROMPT": "do",
    f"CODER_PARAMETER_{digest('cpus')}": "4",
    f"CODER_PARAMETER_PREVIOUS_{digest('cpus')}": "2",
    "CODER_EXTERNAL_AUTH_ACCESS_TOKEN_github": "gho",
    "CODER_GIT_AUTH_ACCESS_TOKEN_gitlab": "glp",
    "CODER_SECRET_ENV_API_KEY": "k",
    f"CODER_SECRET_FILE_{b'~/.netrc'.hex()}": "machine",
    f"CODER_RUNNING_WORKSPACE_AGENT_TOKEN_{digest('')}": "running",
}


def test_every_variable_has_its_field() -> None:
    context = BuildContext.from_environment(ENVIRONMENT)
    assert context == BuildContext(
        access_url="https://dev.example.com",
        transition="stop",
        build_id="b1",
        workspace_id="w1",
        workspace_name="dev",
        template_id="t1",
        template_name="local",
        template_version="one",
        owner_id="u1",
        owner_name="ada",
        owner_full_name="Ada L",
        owner_email="ada@example.com",
        owner_login_type="password",
        owner_groups=("staff",),
        owner_roles=(OwnerRole("owner"),),
        owner_session_token="s",
        owner_oidc_access_token="o",
        owner_ssh_public_key="pub",
        owner_ssh_private_key="priv",
        parameters={f"sha256:{digest('cpus')}": "4"},
        previous_parameters={f"sha256:{digest('cpus')}": "2"},
        is_prebuild=True,
        task_id="k1",
        task_prompt="do",
        external_auth_tokens={"github": "gho", "gitlab": "glp"},
        secrets_env={"API_KEY": "k"},
        secrets_file={"~/.netrc": "machine"},
        running_agent_token="running",
        agent_init_scripts={"linux/amd64": "run"},
    )
    assert find_parameter(context.parameters, "cpus") == "4"
    assert find_parameter(context.parameters, "memory") is None


def test_a_name_counts_before_its_hash() -> None:
    assert find_parameter({"cpus": "8", f"sha256:{digest('cpus')}": "4"}, "cpus") == "8"


def test_an_empty_environment_is_a_bare_plan() -> None:
    assert BuildContext.from_environment({}) == BuildContext()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CODER_WORKSPACE_TRANSITION", "explode"),
        ("CODER_WORKSPACE_OWNER_GROUPS", "staff"),
        ("CODER_SECRET_FILE_zz", "x"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        BuildContext.from_environment({name: value})


def test_no_value_is_shown() -> None:
    assert "priv" not in repr(BuildContext(owner_ssh_private_key="priv"))
