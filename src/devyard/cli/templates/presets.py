"""`devyard templates presets`: named bundles of parameter values."""

import click
import msgspec

from devyard.cli.lazy import LazyGroup
from devyard.cli.organizations import organization_option
from devyard.cli.output import Column, Listing, list_options, yes_no
from devyard.cli.settings import Settings, variables
from devyard.cli.templates.command import load_template, load_version
from devyard.sdk import templates
from devyard.wire.templates import Preset

COLUMNS: tuple[Column[Preset], ...] = (
    Column("name", lambda p: p.Name),
    Column("parameters", lambda p: ", ".join(f"{v.Name}={v.Value}" for v in p.Parameters)),
    Column("default", lambda p: yes_no(p.Default)),
    Column("id", lambda p: str(p.ID), is_default=False),
)


@click.group("presets", cls=LazyGroup)
def presets() -> None:
    """Presets of a template."""


@presets.command("list")
@click.argument("template")
@click.option(
    "--template-version",
    "version_name",
    default="",
    envvar=variables("TEMPLATE_VERSION"),
    help="Of that version (default: the active one).",
)
@organization_option
@list_options(COLUMNS)
@click.pass_obj
def list_presets(settings: Settings, template: str, version_name: str, org: str, listing: Listing[Preset]) -> None:
    """List a template version's presets."""
    client = settings.client()
    version = load_version(client, load_template(client, org, template), version_name)
    rows = templates.list_presets(client, version.id)
    empty = f"Version {version.name} of template {template} has no presets."
    listing.show(rows, lambda: msgspec.json.encode(rows), empty)


presets.add_aliases({"ls": "list"})
