"""`devyard provisioner start`: runs Terraform jobs for a server until a signal ends it.

Everything heavy is imported when the command runs. The environment variables that clients of the same kind know
(`CODER_*`) work as a fallback.
"""

import re
import socket
from pathlib import Path

import click


@click.group("provisioner")
def provisioner() -> None:
    """Provisioners run Terraform for the server."""


@provisioner.command("start")
@click.option(
    "--url",
    required=True,
    envvar=["DEVYARD_URL", "CODER_URL"],
    help="The server's URL.",
)
@click.option(
    "--key",
    envvar=["DEVYARD_PROVISIONER_DAEMON_KEY", "CODER_PROVISIONER_DAEMON_KEY"],
    help="The provisioner's key. Others can read a command line: prefer the variable or --key-file.",
)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that holds the key.",
)
@click.option(
    "--name",
    envvar=["DEVYARD_PROVISIONER_DAEMON_NAME", "CODER_PROVISIONER_DAEMON_NAME"],
    help="The name under which the server lists it; the host's name by default.",
)
@click.option(
    "--organization",
    "--org",
    "-O",
    default="default",
    show_default=True,
    envvar=["DEVYARD_ORGANIZATION", "CODER_ORGANIZATION"],
    help="The organization whose jobs it takes, by name or id.",
)
@click.option(
    "--tag", "-t", "tags", multiple=True, metavar="KEY=VALUE", help="Takes jobs with this tag. Repeatable."
)
@click.option(
    "--cache-dir",
    "-c",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=["DEVYARD_CACHE_DIRECTORY", "CODER_CACHE_DIRECTORY"],
    help="Where templates and their modules and providers are kept.",
)
@click.option(
    "--sandbox-root",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="DEVYARD_SANDBOX_ROOT",
    help="Where sandboxes and their home directories lie; below the cache directory by default.",
)
@click.option(
    "--sandbox-isolation",
    type=click.Choice(["namespaces", "none"]),
    default="namespaces",
    show_default=True,
    envvar="DEVYARD_SANDBOX_ISOLATION",
    help="'none' runs workspaces as ordinary processes of this user: only for users you trust with this machine.",
)
@click.option(
    "--terraform",
    default="auto",
    show_default=True,
    metavar="auto|library|binary|PATH",
    envvar="DEVYARD_TERRAFORM",
    help="Which Terraform: the library if it is installed, else the one on the PATH.",
)
@click.option(
    "--terraform-env",
    "passed",
    multiple=True,
    metavar="NAME",
    envvar="DEVYARD_TERRAFORM_ENV",
    help="A variable of this environment that Terraform may see, as AWS_PROFILE or AWS_*. Repeatable.",
)
@click.option(
    "--terraform-cli-config",
    "cli_config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="DEVYARD_TERRAFORM_CLI_CONFIG",
    help="A CLI configuration file for Terraform, instead of the server's.",
)
@click.option(
    "--cache-bytes",
    type=click.IntRange(64 << 20),
    default=8 << 30,
    show_default=True,
    envvar="DEVYARD_PROVISIONER_CACHE_BYTES",
    help="Disk space of templates, modules and providers that are kept.",
)
@click.option("--log-format", type=click.Choice(["auto", "human", "json"]), default="auto", show_default=True)
@click.option("--verbose", "-v", is_flag=True, help="Also log details.")
def start(
    url: str,
    key: str | None,
    key_file: Path | None,
    name: str | None,
    organization: str,
    tags: tuple[str, ...],
    cache_dir: Path | None,
    sandbox_root: Path | None,
    sandbox_isolation: str,
    terraform: str,
    passed: tuple[str, ...],
    cli_config: Path | None,
    cache_bytes: int,
    log_format: str,
    verbose: bool,
) -> None:
    """Run Terraform jobs, one at a time.

    SIGTERM finishes the job that runs and ends; SIGINT (Ctrl-C) cancels it and ends; a second signal ends at once.
    """
    import asyncio

    from devyard.runtime.imports import quick_imports

    with quick_imports():
        from devyard.provisioner.daemon import Settings, serve_provisioner
        from devyard.provisioner.engine.backend import NoTerraform
        from devyard.provisioner.logs import set_up_logs

    set_up_logs(log_format, is_verbose=verbose)  # type: ignore[arg-type]  # one of the choices
    cache = (cache_dir or _default_cache_directory()).absolute()
    settings = Settings(
        url=_check_url(url),
        key=_read_key(key, key_file),
        name=name or socket.gethostname().split(".")[0],
        organization=organization,
        tags=_parse_tags(tags),
        cache_directory=cache,
        sandbox_root=(sandbox_root or cache / "sandboxes").absolute(),
        sandbox_isolation=sandbox_isolation,  # type: ignore[arg-type]  # one of the choices
        terraform=terraform,
        passed_variables=passed,
        cli_config=cli_config.absolute() if cli_config else None,
        cache_bytes=cache_bytes,
        key_file=key_file.absolute() if key_file else None,
    )
    try:
        asyncio.run(serve_provisioner(settings))
    except NoTerraform as error:
        raise click.ClickException(str(error)) from None
    except PermissionError as error:
        raise click.ClickException(f"{error.filename} can't be used: {error.strerror}.") from None


def _check_url(url: str) -> str:
    if not re.match(r"^https?://[^/\s]+", url):
        raise click.BadParameter("it has to begin with http:// or https://", param_hint="--url")
    return url.rstrip("/")


def _read_key(key: str | None, key_file: Path | None) -> str:
    if key and key_file:
        raise click.UsageError("Give --key or --key-file, not both.")
    if key_file:
        key = key_file.read_text().strip()
    if not key:
        raise click.UsageError("There is no key: give --key-file, or DEVYARD_PROVISIONER_DAEMON_KEY.")
    return key


def _parse_tags(tags: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not name or not equals:
            raise click.BadParameter(f'"{tag}" is not of the form KEY=VALUE', param_hint="--tag")
        parsed[name] = value
    return parsed


def _default_cache_directory() -> Path:
    import os

    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "devyard" / "provisioner"
