"""`devyard ssh --stdio`: the stream to the agent's SSH server on stdin and stdout, for OpenSSH and editors.

Called by command.py with everything open. Ends when the stream ends, when nobody reads any more, or when the
workspace is stopped.
"""

import socket
from pathlib import Path

from devyard.cli.connect import presence
from devyard.cli.connect.agentstream import AgentStream
from devyard.cli.connect.pump import Counts, pump
from devyard.cli.output import note
from devyard.cli.settings import Settings
from devyard.cli.ssh.connectionlog import ConnectionLog
from devyard.cli.ssh.knownhosts import remember_host
from devyard.cli.ssh.options import SshOptions
from devyard.net.address import parse_relay_url
from devyard.sdk.client import Client
from devyard.wire.workspaces import Workspace, WorkspaceAgent


def run_stdio(
    settings: Settings,
    client: Client,
    workspace: Workspace,
    agent: WorkspaceAgent,
    stream: AgentStream,
    options: SshOptions,
    log: ConnectionLog,
) -> int:
    """Passes bytes until the end; always 0: how the session ended is said inside the stream."""
    try:
        remember_host(Path(settings.config_dir), options.workspace, stream.host_keys)
    except OSError as error:
        note(f"Note: the agent's host keys can't be stored in {settings.config_dir}: {error.strerror}")
    counts = Counts()
    figures = None
    if options.network_info_dir is not None:
        figures = _start_figures(client, agent, stream, options, counts)

    def on_stop() -> None:
        log.write("the workspace was stopped")
        stream.socket.shutdown(socket.SHUT_RDWR)

    presence.watch_for_stop(client, workspace.id, options.workspace_poll_interval.total_seconds(), on_stop)
    try:
        pump(stream.socket, 0, 1, counts)
    finally:
        log.write(f"ended after {counts.sent} bytes sent and {counts.received} received")
        if figures is not None:
            figures.remove()
    return 0


def _start_figures(
    client: Client, agent: WorkspaceAgent, stream: AgentStream, options: SshOptions, counts: Counts
) -> presence.NetworkFigures:
    assert options.network_info_dir is not None
    options.network_info_dir.mkdir(parents=True, exist_ok=True)
    figures = presence.NetworkFigures(
        client,
        agent.id,
        options.network_info_dir,
        counts,
        max(options.network_info_interval.total_seconds(), 0.5),
        parse_relay_url(stream.relay_url).host,
    )
    figures.start()
    return figures
