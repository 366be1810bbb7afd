"""`devyard publickey`: the key that git in workspaces signs in with."""

import click

from devyard.cli.output import note
from devyard.cli.prompts import require_yes
from devyard.cli.settings import Settings
from devyard.sdk import users


@click.command("publickey")
@click.option("--reset", is_flag=True, help="Make a new key; the old one stops working.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def publickey(settings: Settings, reset: bool, yes: bool) -> None:
    """Show the public key that git in your workspaces uses."""
    client = settings.client()
    if reset:
        question = "Make a new git key? The old one must be replaced wherever it was added."
        require_yes(question, yes=yes, is_terminal=settings.is_terminal)
        key = users.replace_git_key(client)
    else:
        key = users.get_git_key(client)
    click.echo(key.public_key.strip())
    note("Add it to your git host, as a key of your account.")
