"""A version from an archive: uploaded, imported with a live log, and asked for the variables that it lacks.

Called by push, create and quickstart. Invariant: a template is made, or a version promoted, only after its import
has succeeded.
"""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from devyard.cli.failures import CommandFailed
from devyard.cli.joblog import follow_import
from devyard.cli.output import note, plain
from devyard.cli.settings import variables
from devyard.cli.templates.archive import pack_directory, read_archive
from devyard.cli.workspaces.parameters import parse_pairs, read_parameter_file
from devyard.sdk import templates
from devyard.sdk.client import Client
from devyard.wire.errors import NotFound, PreconditionFailed
from devyard.wire.templates import (
    CreateTemplateRequest,
    CreateTemplateVersionRequest,
    Template,
    TemplateVersion,
    VariableValue,
)

TAR = "application/x-tar"
LOCK_FILE = ".terraform.lock.hcl"
IMPLIED_TAGS = ("scope", "owner")
_LACKS_VARIABLES = "REQUIRED_TEMPLATE_VARIABLES"


@dataclass
class Upload:
    """An archive and what its version is to be."""

    data: bytes
    request: CreateTemplateVersionRequest = field(default_factory=CreateTemplateVersionRequest)
    content_type: str = TAR
    asks: bool = False
    """Whether somebody can be asked for the values of variables."""


@dataclass(frozen=True)
class UploadOptions:
    """What the options of `upload_options` were given."""

    directory: Path
    message: str
    variables_: tuple[str, ...]
    variables_file: Path | None
    tags: tuple[str, ...]
    ignore_lockfile: bool
    yes: bool

    @property
    def is_stdin(self) -> bool:
        """An archive comes from stdin rather than a directory from disk."""
        return str(self.directory) == "-"


def upload_options(function: Any) -> Any:
    """Options of `push` and `create` that say what is uploaded and how it is imported; it gets `options`."""

    @functools.wraps(function)
    def collect(*arguments: Any, **given: Any) -> Any:
        names = [field_.name for field_ in fields(UploadOptions)]
        collected = UploadOptions(**{name: given.pop(name) for name in names})
        return function(*arguments, options=collected, **given)

    decorated: Any = collect
    options: tuple[Callable[[Any], Any], ...] = (
        click.option("-y", "--yes", is_flag=True, help="Ask nothing."),
        click.option(
            "--ignore-lockfile",
            is_flag=True,
            envvar=variables("TEMPLATE_IGNORE_LOCKFILE"),
            help=f"Leave {LOCK_FILE} out: Terraform chooses versions of providers anew.",
        ),
        click.option(
            "--provisioner-tag",
            "tags",
            multiple=True,
            metavar="NAME=VALUE",
            help="Only provisioners with that tag; repeatable. A single - takes the tags away.",
        ),
        click.option("--variables-file", type=click.Path(path_type=Path), help="YAML or JSON file of variables."),
        click.option(
            "--variable", "--var", "variables_", multiple=True, metavar="NAME=VALUE", help="Terraform variable."
        ),
        click.option("-m", "--message", default="", help="What changed."),
        click.option(
            "-d",
            "--directory",
            type=click.Path(path_type=Path, allow_dash=True),
            default=Path(),
            help="The template's directory; - reads a tar or zip archive from stdin.",
        ),
    )
    for option in options:
        decorated = option(decorated)
    return decorated


def read_upload(options: UploadOptions, *, asks: bool) -> Upload:
    """What the options say, read from disk or stdin. Raises CommandFailed."""
    values = read_parameter_file(options.variables_file) if options.variables_file else {}
    values |= parse_pairs(options.variables_, "--variable")
    request = CreateTemplateVersionRequest(
        message=options.message,
        tags={} if options.tags == ("-",) else parse_pairs(options.tags, "--provisioner-tag"),
        user_variable_values=[VariableValue(key, value) for key, value in values.items()],
    )
    if options.is_stdin:
        data, content_type = read_archive(sys.stdin.buffer)
        return Upload(data, request, content_type)
    leaves_out = (LOCK_FILE,) if options.ignore_lockfile else ()
    return Upload(pack_directory(options.directory, leaves_out), request, asks=asks)


def push_archive(
    client: Client,
    organization_id: str,
    name: str,
    template: Template | None,
    upload: Upload,
    *,
    activates: bool = True,
    stream: TextIO | None = None,
    is_verbose: bool = False,
) -> tuple[Template, TemplateVersion]:
    """Uploads, imports with a live log, and promotes, or makes `name` where `template` is None.

    Raises CommandFailed.
    """
    upload.request.template_id = template.id if template else None
    version = import_archive(client, organization_id, upload, stream=stream, is_verbose=is_verbose)
    if template is None:
        template = templates.create_template(client, organization_id, CreateTemplateRequest(name, version.id))
    elif activates:
        templates.promote_version(client, template.id, version.id)
    return template, version


def import_archive(
    client: Client, organization_id: str, upload: Upload, *, stream: TextIO | None = None, is_verbose: bool = False
) -> TemplateVersion:
    """A version whose import has succeeded; asks for the variables that it lacks. Raises CommandFailed."""
    upload.request.file_id = templates.upload_file(client, upload.data, upload.content_type)
    version = templates.create_version(client, organization_id, upload.request)
    try:
        version = follow_import(client, version, stream=stream, is_verbose=is_verbose)
    except CommandFailed:
        version = templates.get_version(client, version.id)
        if version.job.status != "failed" or version.job.error_code != _LACKS_VARIABLES:
            raise
        upload.request.user_variable_values += _missing_variables(client, version, upload)
        version = templates.create_version(client, organization_id, upload.request)
        version = follow_import(client, version, stream=stream, is_verbose=is_verbose)
    if not isinstance(version.warnings, msgspec.UnsetType):
        for warning in version.warnings:
            note(f"Warning: {plain(warning)}")
    return version


def find_template(client: Client, organization_id: str, name: str) -> Template | None:
    """The template of that name, if there is one. Raises CommandFailed for what can't be a name."""
    try:
        return templates.load_template(client, organization_id, name)
    except NotFound:
        return None
    except ValueError as error:
        raise CommandFailed(str(error)) from None


def _missing_variables(client: Client, version: TemplateVersion, upload: Upload) -> list[VariableValue]:
    given = {value.name for value in upload.request.user_variable_values}
    try:
        declared = templates.list_variables(client, version.id)
    except PreconditionFailed:  # the server tells of them only after a whole import; the job's error has the names
        declared = []
    missing = [v for v in declared if v.required and v.name not in given]
    if not missing:
        raise CommandFailed(str(version.job.error))
    if not upload.asks:
        options = " ".join(f"--variable {variable.name}=VALUE" for variable in missing)
        raise CommandFailed(f"Terraform variables of this template need values. Add: {options}")
    note("\nTerraform variables of this template need values.")
    values = []
    for variable in missing:
        if variable.description:
            note(f"  {plain(variable.description)}")
        prompt = f"{plain(variable.name)} ({plain(variable.type)})" if variable.type else plain(variable.name)
        value = click.prompt(prompt, hide_input=variable.sensitive, err=True)
        values.append(VariableValue(variable.name, str(value)))
    return values
