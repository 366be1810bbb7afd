"""`devyard config-ssh`: after it, plain ssh, scp, sftp, rsync and git reach workspaces by host name."""

import difflib
import os
import shutil
import sys
from pathlib import Path

import click

from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.prompts import confirm
from devyard.cli.settings import Settings, variables
from devyard.cli.ssh.configblock import (
    BlockOptions,
    FenceError,
    merge,
    parse_options,
    remove,
    render_block,
    split_fence,
)
from devyard.cli.ssh.knownhosts import FILE_NAME
from devyard.sdk.client import Client
from devyard.sdk.organizations import get_ssh_config
from devyard.sdk.session import write_private
from devyard.wire.errors import NotFound
from devyard.wire.identity import SSHConfigResponse

DEFAULT_SUFFIX = "devyard"


@click.command("config-ssh")
@click.option(
    "--ssh-config-file", default="~/.ssh/config", envvar=variables("SSH_CONFIG_FILE"), help="Which file."
)
@click.option(
    "--hostname-suffix", default=None, envvar=variables("CONFIGSSH_HOSTNAME_SUFFIX"), help="As in WS.SUFFIX."
)
@click.option(
    "--ssh-host-prefix", default=None, envvar=variables("CONFIGSSH_SSH_HOST_PREFIX"), help="As in PREFIXws."
)
@click.option(
    "-o", "--ssh-option", "ssh_options", multiple=True, envvar=variables("SSH_CONFIG_OPTS"), metavar="NAME=VALUE"
)
@click.option("--wait", type=click.Choice(["yes", "no", "auto"]), default=None, envvar=variables("CONFIGSSH_WAIT"))
@click.option("--disable-autostart", is_flag=True, envvar=variables("CONFIGSSH_DISABLE_AUTOSTART"))
@click.option("--use-previous-options", is_flag=True, envvar=variables("SSH_USE_PREVIOUS_OPTIONS"))
@click.option("--coder-binary-path", "--binary-path", "binary_path", default="", help="The CLI that ssh runs.")
@click.option("--force-unix-filepaths", is_flag=True, hidden=True)
@click.option("--remove", "removes", is_flag=True, help="Take the block out again.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def config_ssh(
    settings: Settings,
    ssh_config_file: str,
    hostname_suffix: str | None,
    ssh_host_prefix: str | None,
    ssh_options: tuple[str, ...],
    wait: str | None,
    disable_autostart: bool,
    use_previous_options: bool,
    binary_path: str,
    force_unix_filepaths: bool,
    removes: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Let plain ssh, scp, sftp, rsync and git reach workspaces as WORKSPACE.devyard."""
    path = Path(ssh_config_file).expanduser()
    before = _read(path)
    try:
        previous = parse_options(split_fence(before)[1])
        if removes:
            after = remove(before)
        else:
            given = (hostname_suffix, ssh_host_prefix, wait, disable_autostart, ssh_options)
            if use_previous_options and previous:
                given = _from_previous(previous)
            options = _decide(settings.client(), *given)
            after = merge(
                before, render_block(options, _own_command(settings, binary_path), _known_hosts(settings))
            )
    except FenceError as error:
        raise CommandFailed(f"{path}: {error}") from None
    if after == before:
        note(f"{path} is as it should be.")
        return
    if dry_run or (settings.is_terminal and not yes):
        click.echo(_diff(path, before, after), nl=False)
    if dry_run:
        return
    if settings.is_terminal and not yes:
        confirm(f"Write {path}?", default=True)
    _write(path, before, after)
    note(f"{path} is written." + ("" if removes else _example(options)))


Given = tuple[str | None, str | None, str | None, bool, tuple[str, ...]]


def _from_previous(previous: dict[str, list[str]]) -> Given:
    def last(name: str) -> str | None:
        return previous[name][-1] if name in previous else None

    options = tuple(previous.get("ssh-option", []))
    return (
        last("hostname-suffix"),
        last("ssh-host-prefix"),
        last("wait"),
        last("disable-autostart") == "true",
        options,
    )


def _decide(
    client: Client,
    suffix: str | None,
    prefix: str | None,
    wait: str | None,
    disables_autostart: bool,
    ssh_options: tuple[str, ...],
) -> BlockOptions:
    try:
        deployment = get_ssh_config(client)
    except NotFound:
        deployment = SSHConfigResponse("", DEFAULT_SUFFIX, {})
    for option in ssh_options:
        if not option.replace("=", " ").strip().count(" "):
            raise CommandFailed(f"--ssh-option {option!r} has no value; write NAME=VALUE.")
    chosen = BlockOptions(
        suffix=(deployment.hostname_suffix or DEFAULT_SUFFIX if suffix is None else suffix).lstrip("."),
        prefix=deployment.hostname_prefix if prefix is None else prefix,
        wait=wait or "auto",
        disables_autostart=disables_autostart,
        ssh_options=ssh_options,
        deployment_options=deployment.ssh_config_options,
    )
    for text in (chosen.suffix, chosen.prefix, *chosen.ssh_options, *deployment.ssh_config_options.values()):
        if not text.isprintable() or " " in chosen.suffix + chosen.prefix:
            raise CommandFailed(f"{text!r} can't stand in an SSH configuration.")
    return chosen


def _own_command(settings: Settings, binary_path: str) -> list[str]:
    """This CLI as ssh will run it, from any directory."""
    if binary_path:
        command = [binary_path]
    else:
        beside = Path(sys.executable).with_name("devyard")
        started = Path(sys.argv[0])
        if started.name == "devyard" and started.is_file():
            command = [str(started.absolute())]
        elif beside.is_file():
            command = [str(beside)]
        else:
            command = [sys.executable, "-m", "devyard"]
    return [*command, "--global-config", str(Path(settings.config_dir).absolute())]


def _known_hosts(settings: Settings) -> str:
    return str(Path(settings.config_dir).absolute() / FILE_NAME)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandFailed(f"{path} can't be read: {error.strerror}.") from None


def _write(path: Path, before: str, after: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = path.resolve()  # a link to a dotfiles directory stays a link
    if before:
        shutil.copy2(target, target.with_name(target.name + ".devyard-backup"))
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    try:
        write_private(os.fspath(target), after.encode("utf-8", "surrogateescape"), mode & 0o755)
    except OSError as error:
        raise CommandFailed(f"{path} can't be written: {error.strerror}.") from None


def _diff(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path))
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _example(options: BlockOptions) -> str:
    host = f"WORKSPACE.{options.suffix}" if options.suffix else f"{options.prefix}WORKSPACE"
    return f" Try: ssh {host}"
