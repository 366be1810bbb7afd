"""Every attribute of every data source and resource, as templates written for `coder/coder` 2.x know it.

A line is `name kind type [= default] [sensitive]`; kind R: required, O: optional, C: computed. Blocks are named
`block[nesting,max]` and indented. The table is the contract: an attribute more, less or of another kind fails.
"""

from collections.abc import Iterator
from textwrap import dedent

import pytest

from devyard.provisioner.provider.registry import DATA_SOURCES, RESOURCES
from devyard.provisioner.provider.schema import Block, Type

DATA = {
    "workspace": """
        access_port C number; access_url C string; id C string; is_prebuild C bool; is_prebuild_claim C bool
        name C string; prebuild_count C number; start_count C number; template_id C string
        template_name C string; template_version C string; transition C string
    """,
    "workspace_owner": """
        email C string; full_name C string; groups C list(string); id C string; login_type C string; name C string
        oidc_access_token C string sensitive; rbac_roles C list(object); session_token C string sensitive
        ssh_private_key C string sensitive; ssh_public_key C string
    """,
    "provisioner": "arch C string; id C string; os C string",
    "parameter": """
        default O string; description O string; display_name O string; ephemeral O bool = False
        form_type O string; icon O string; id C string; mutable O bool = False; name R string; optional C bool
        order O number; styling O string = {}; type O string = string; value C string
        option[list,0]: description O string; icon O string; name R string; value R string
        validation[list,1]: error O string; max O number; max_disabled C bool; min O number; min_disabled C bool
        validation[list,1]: monotonic O string; regex O string
    """,
    "workspace_tags": "id C string; tags O map(string)",
    "workspace_preset": """
        default O bool = False; description O string; icon O string; id C string; name R string
        parameters O map(string)
        prebuilds[set,1]: instances R number
        prebuilds[set,1].expiration_policy[set,1]: ttl R number
        prebuilds[set,1].scheduling[list,1]: timezone R string
        prebuilds[set,1].scheduling[list,1].schedule[list,0]: cron R string; instances R number
    """,
    "external_auth": "access_token C string sensitive; id R string; optional O bool = False",
    "secret": "env O string; file O string; help_message R string; id C string; value C string sensitive",
    "task": "enabled C bool; id C string; prompt C string",
}
RESOURCE = {
    "agent": """
        api_key_scope O string = all; arch R string; auth O string = token; connection_timeout O number = 120
        dir O string; env O map(string); id C string; init_script C string; motd_file O string; order O number
        os R string; shutdown_script O string; startup_script O string
        startup_script_behavior O string = non-blocking; token C string sensitive; troubleshooting_url O string
        display_apps[set,1]: port_forwarding_helper O bool = True; ssh_helper O bool = True; vscode O bool = True
        display_apps[set,1]: vscode_insiders O bool = False; web_terminal O bool = True
        metadata[list,0]: display_name O string; interval R number; key R string; order O number; script R string
        metadata[list,0]: timeout O number
        resources_monitoring[set,1].memory[set,1]: enabled R bool; threshold R number
        resources_monitoring[set,1].volume[set,0]: enabled R bool; path R string; threshold R number
    """,
    "agent_instance": "agent_id R string; id C string; instance_id R string",
    "app": """
        agent_id R string; command O string; display_name O string; external O bool = False; group O string
        hidden O bool = False; icon O string; id C string; open_in O string = slim-window; order O number
        share O string = owner; slug R string; subdomain O bool; tooltip O string; url O string
        healthcheck[set,1]: interval R number; threshold R number; url R string
    """,
    "script": """
        agent_id R string; cron O string; display_name R string; icon O string; id C string; log_path O string
        run_on_start O bool = False; run_on_stop O bool = False; script R string
        start_blocks_login O bool = False; timeout O number = 0
    """,
    "env": """
        agent_id R string; id C string; merge_strategy O string = replace; name R string; value O string
    """,
    "metadata": """
        daily_cost O number; hide O bool; icon O string; id C string; resource_id R string
        item[list,0]: is_null C bool; key R string; sensitive O bool = False; value O string
    """,
    "devcontainer": """
        agent_id R string; config_path O string; id C string; subagent_id C string; workspace_folder R string
    """,
    "ai_task": """
        app_id O string; enabled C bool; id C string; prompt C string
        sidebar_app[set,1]: id R string
    """,
    "external_agent": "agent_id R string; id C string",
}


def parse(table: str) -> set[str]:
    """The table's lines as `path: attribute`."""
    found = set()
    for line in dedent(table).strip().splitlines():
        path, colon, attributes = line.rpartition(": ")
        found.update(f"{path}{colon}{part.strip()}" for part in attributes.split(";"))
    return found


def describe(block: Block, path: str = "") -> Iterator[str]:
    for name, attribute in block.attributes.items():
        words = [name, attribute.mode[0].upper(), show_type(attribute.type)]
        words += [] if attribute.default is None else ["=", str(attribute.default)]
        words += ["sensitive"] if attribute.is_sensitive else []
        yield (f"{path}: " if path else "") + " ".join(words)
    for name, nested in block.blocks.items():
        inner = f"{name}[{nested.nesting},{nested.max_items}]"
        yield from describe(nested.block, f"{path}.{inner}" if path else inner)


def show_type(type_: Type) -> str:
    if isinstance(type_, str):
        return type_
    inner = type_[1]
    return f"{type_[0]}({inner if isinstance(inner, str) else inner[0]})"


@pytest.mark.parametrize("prefix", ["coder", "devyard"])
@pytest.mark.parametrize("name", sorted(DATA))
def test_data_sources(name: str, prefix: str) -> None:
    assert set(describe(DATA_SOURCES[f"{prefix}_{name}"].block)) == parse(DATA[name])


@pytest.mark.parametrize("prefix", ["coder", "devyard"])
@pytest.mark.parametrize("name", sorted(RESOURCE))
def test_resources(name: str, prefix: str) -> None:
    assert set(describe(RESOURCES[f"{prefix}_{name}"].block)) == parse(RESOURCE[name])


def test_nothing_is_there_beside_the_table() -> None:
    assert {name for name in DATA_SOURCES if name.startswith("coder_")} == {f"coder_{name}" for name in DATA}
    assert {name for name in RESOURCES if name.startswith("coder_")} == {f"coder_{name}" for name in RESOURCE}
