"""`devyard templates delete`: templates that no workspace uses."""

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.organizations import organization_option
from devyard.cli.output import note
from devyard.cli.prompts import require_yes
from devyard.cli.settings import Settings
from devyard.cli.templates.command import load_template
from devyard.sdk import templates
from devyard.wire.errors import BadRequest, Conflict, PreconditionFailed


@click.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@organization_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(settings: Settings, names: tuple[str, ...], org: str, yes: bool) -> None:
    """Delete templates that no workspace uses, with all their versions."""
    client = settings.client()
    found = [load_template(client, org, name) for name in dict.fromkeys(names)]
    subject = ", ".join(template.name for template in found)
    require_yes(f"Delete {subject} with all versions?", yes=yes, is_terminal=settings.is_terminal)
    refused = []
    for template in found:
        try:
            templates.delete_template(client, template.id)
        except (BadRequest, Conflict, PreconditionFailed) as error:
            refused.append(
                f"Template {template.name} stays: {error}\n"
                f"  Its workspaces: devyard list --search template:{template.name}"
            )
        else:
            note(f"Template {template.name} is deleted.")
    if refused:
        raise CommandFailed("\n".join(refused))
