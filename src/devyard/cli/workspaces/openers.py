"""`devyard open`: a workspace in an editor on this machine."""

import webbrowser

import click

from devyard.cli.output import note
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.targets import choose_agent, load_target, parse_target
from devyard.sdk import users
from devyard.sdk.client import encode_query


@click.group("open")
def open_group() -> None:
    """Open a workspace in an editor."""


@open_group.command("vscode")
@click.argument("workspace")
@click.argument("directory", default="")
@click.option("--generate-token", is_flag=True, envvar=variables("OPEN_VSCODE_GENERATE_TOKEN"))
@click.option("--print", "prints", is_flag=True, help="Print the address instead of opening it.")
@click.pass_obj
def vscode(settings: Settings, workspace: str, directory: str, generate_token: bool, prints: bool) -> None:
    """Open a workspace in VS Code, with its extension for platforms of this kind."""
    client = settings.client()
    target = parse_target(workspace)
    found = load_target(client, target)
    agent = choose_agent(found, target.agent)
    folder = directory or (agent.expanded_directory if isinstance(agent.expanded_directory, str) else "")
    query = {
        "owner": found.owner_name,
        "workspace": found.name,
        "agent": agent.name,
        "folder": folder or None,
        "url": client.url,
        "token": users.create_session_key(client) if generate_token else None,
    }
    address = "vscode://coder.coder-remote/open" + encode_query(dict(query))
    if prints or not webbrowser.open(address):
        click.echo(address)
    else:
        note(f"Opening {found.name} in VS Code.")
