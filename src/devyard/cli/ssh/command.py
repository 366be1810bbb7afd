"""`devyard ssh`: into a workspace, whatever state it is in; a shell, a command, or a stream for another program.

Editors start `ssh --stdio` for each connection, so everything that a given call does not need is imported later.
"""

from pathlib import Path
from typing import Any

import click

from devyard.cli.connect import presence
from devyard.cli.connect.agentstream import AgentStream, open_agent_stream
from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.settings import Settings, variables
from devyard.cli.ssh.connectionlog import ConnectionLog
from devyard.cli.ssh.options import SshOptions
from devyard.cli.workspaces.targets import choose_agent, load_target, parse_host
from devyard.cli.workspaces.waiting import ensure_running, wait_for_agent
from devyard.net.client import Head
from devyard.net.upgrade import AgentRefusedError
from devyard.sdk import workspaces
from devyard.sdk.client import Client
from devyard.wire.errors import AppError, NotFound
from devyard.wire.workspaces import Workspace, WorkspaceAgent

CONNECTION_LOST = 255
"""ssh(1)'s status when the connection failed."""


@click.command("ssh")
@click.argument("workspace")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--stdio", is_flag=True, envvar=variables("SSH_STDIO"), help="Join the stream to stdin and stdout.")
@click.option(
    "--ssh-host-prefix",
    default="",
    envvar=variables("SSH_SSH_HOST_PREFIX"),
    help="Prefix to take off the host name.",
)
@click.option(
    "--hostname-suffix",
    default="",
    envvar=variables("SSH_HOSTNAME_SUFFIX"),
    help="Suffix to take off, as devyard.",
)
@click.option(
    "--wait",
    type=click.Choice(["yes", "no", "auto"]),
    default="auto",
    envvar=variables("SSH_WAIT"),
    help="Wait for startup scripts; auto: as the template says.",
)
@click.option("--no-wait", is_flag=True, envvar=variables("SSH_NO_WAIT"), help="The same as --wait=no.")
@click.option(
    "--disable-autostart",
    is_flag=True,
    envvar=variables("SSH_DISABLE_AUTOSTART"),
    help="Do not start a stopped workspace.",
)
@click.option(
    "-A", "--forward-agent", is_flag=True, envvar=variables("SSH_FORWARD_AGENT"), help="Forward ssh-agent."
)
@click.option("--identity-agent", default="", envvar=variables("SSH_IDENTITY_AGENT"), help="Socket of that agent.")
@click.option(
    "-R",
    "--remote-forward",
    multiple=True,
    envvar=variables("SSH_REMOTE_FORWARD"),
    metavar="PORT:HOST:HOSTPORT",
    help="Let the workspace reach a port from here; repeatable.",
)
@click.option(
    "-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set a variable; repeatable."
)
@click.option(
    "--usage-app",
    default="ssh",
    envvar=variables("SSH_USAGE_APP"),
    help="Name under which use is reported; disable for none.",
)
@click.option("--network-info-dir", type=click.Path(path_type=Path), envvar=variables("SSH_NETWORK_INFO_DIR"))
@click.option(
    "--network-info-interval", type=read_duration, default="5s", envvar=variables("SSH_NETWORK_INFO_INTERVAL")
)
@click.option("-l", "--log-dir", type=click.Path(path_type=Path), envvar=variables("SSH_LOG_DIR"))
@click.option(
    "--workspace-poll-interval", type=read_duration, default="1m", envvar=variables("WORKSPACE_POLL_INTERVAL")
)
@click.pass_obj
def ssh(settings: Settings, /, **given: Any) -> int:
    """Enter a workspace, or run COMMAND in it (after a --). A stopped workspace is started first."""
    options = SshOptions(**given)
    for item in options.environment:
        if not item.partition("=")[1]:
            raise CommandFailed(f"--env {item!r} has no value; write --env NAME=VALUE.")
    client = settings.client()
    log = ConnectionLog(options.log_dir)
    try:
        return _connect(settings, client, options, log)
    except Exception as error:
        log.write(f"ended: {type(error).__name__}: {error}")
        raise


def _connect(settings: Settings, client: Client, options: SshOptions, log: ConnectionLog) -> int:
    target = parse_host(options.workspace, options.ssh_host_prefix, options.hostname_suffix)
    log.write(f"workspace {target.label} of {client.url}")
    workspace = ensure_running(client, load_target(client, target), starts=not options.disable_autostart)
    agent = wait_for_agent(
        client, choose_agent(workspace, target.agent), "no" if options.no_wait else options.wait
    )
    log.write(f"agent {agent.name} is {agent.status}, {agent.lifecycle_state}")
    try:
        stream = open_agent_stream(client, agent.id, Head("ssh"))
    except AgentRefusedError as error:
        raise CommandFailed(f"The agent refused the connection: {error}") from None
    log.write(f"stream open through {stream.relay_url}")
    if options.usage_app != "disable":
        presence.keep_reporting_usage(client, workspace.id, agent.id, options.usage_app)
    if options.stdio:
        from devyard.cli.ssh.stdio import run_stdio

        return run_stdio(settings, client, workspace, agent, stream, options, log)
    return _run_session(settings, client, workspace, agent, stream, options)


def _run_session(
    settings: Settings,
    client: Client,
    workspace: Workspace,
    agent: WorkspaceAgent,
    stream: AgentStream,
    options: SshOptions,
) -> int:
    from devyard.cli.ssh.openssh import SshRequest, find_ssh, run_openssh

    request = SshRequest(
        host=f"{workspace.name}.{agent.name}",
        command=options.command,
        environment=options.environment,
        remote_forwards=options.remote_forward,
        forwards_agent=options.forward_agent,
        identity_agent=options.identity_agent,
        is_verbose=settings.is_verbose,
    )
    binary = find_ssh()
    if binary is not None:
        status = run_openssh(binary, stream, request)
    else:
        from devyard.cli.ssh.pythonssh import run_pythonssh

        status = run_pythonssh(stream, request)
    if status == CONNECTION_LOST:
        _explain_end(client, workspace)
    return status


def _explain_end(client: Client, workspace: Workspace) -> None:
    """Why a connection ended, where the workspace's own end is the reason."""
    try:
        status = workspaces.get_workspace(client, workspace.id).latest_build.status
    except NotFound:
        status = "deleted"
    except AppError:
        return
    if status != "running":
        note(f"Workspace {workspace.name} is {status}.")
