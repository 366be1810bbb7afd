"""`devyard agent`: runs inside a workspace, dials out, and serves it. Started by a template's init script.

Everything heavy is imported when the command runs. Without flags cli/main.py starts the agent directly and
this file is not loaded.
"""

import sys

import click


@click.command("agent", short_help="Run the agent of a workspace (started by its init script).")
@click.option("--agent-url", metavar="URL", help="The server's address. [CODER_AGENT_URL, DEVYARD_AGENT_URL]")
@click.option("--agent-token", metavar="TOKEN", help="The agent's token. [CODER_AGENT_TOKEN, DEVYARD_AGENT_TOKEN]")
@click.option(
    "--agent-token-file",
    metavar="PATH",
    help="A file that holds the token. [CODER_AGENT_TOKEN_FILE, DEVYARD_AGENT_TOKEN_FILE]",
)
@click.option("--auth", type=click.Choice(["token"]), default="token", help="How the agent proves who it is.")
@click.option("--log-dir", metavar="DIR", default="/tmp", show_default=True, help="Where script logs go.")  # noqa: S108
@click.option(
    "--script-data-dir",
    metavar="DIR",
    default="/tmp",  # noqa: S108
    show_default=True,
    help="Where scripts keep their data.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--block-file-transfer", is_flag=True, help="Refuse SFTP, scp, rsync and port forwarding.")
@click.option("--no-reap", is_flag=True, help="As process 1: do not reap orphaned processes.")
def agent(
    agent_url: str | None,
    agent_token: str | None,
    agent_token_file: str | None,
    auth: str,
    log_dir: str,
    script_data_dir: str,
    log_level: str,
    block_file_transfer: bool,
    no_reap: bool,
) -> None:
    """Serve this workspace: SSH, scripts, metadata, logs. Dials out only; ends on SIGTERM.

    Exit status: 0 after an orderly stop, 77 when the server refuses this agent for good (its build is not the
    latest), 2 for unusable options.
    """
    from devyard.agent.start import start_agent

    sys.exit(
        start_agent(
            url=agent_url or "",
            token=agent_token or "",
            token_file=agent_token_file or "",
            log_dir=log_dir,
            script_data_dir=script_data_dir,
            log_level=log_level,
            block_file_transfer=block_file_transfer,
            is_reaping=not no_reap,
        )
    )
