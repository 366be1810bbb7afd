"""The command tree: names, aliases and one-line descriptions, and where each command's code is.

Called by main.py. Invariant: listing or completing commands imports none of them.
"""

import io
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from devyard.cli.failures import report_failure
from devyard.cli.lazy import Entry, LazyGroup
from devyard.cli.settings import GLOBAL_OPTIONS, Settings, hoist_globals

_CLI = "devyard.cli."

COMMANDS: dict[str, Entry] = {
    "agent": Entry(_CLI + "agent:agent", "Run the agent inside a workspace."),
    "autoupdate": Entry(
        _CLI + "workspaces.settings:autoupdate", "Take new template versions at each start, or not."
    ),
    "cancel": Entry(_CLI + "workspaces.canceling:cancel", "Cancel a workspace's build that waits or runs."),
    "completion": Entry(_CLI + "completion:completion", "Print or install shell completion."),
    "config-ssh": Entry(_CLI + "ssh.config:config_ssh", "Let plain ssh, scp, rsync and git reach workspaces."),
    "create": Entry(_CLI + "workspaces.create:create", "Create a workspace."),
    "delete": Entry(_CLI + "workspaces.transitions:delete", "Delete a workspace and all that is in it.", ("rm",)),
    "favorite": Entry(
        _CLI + "workspaces.settings:favorite", "Put a workspace on top of the list.", ("fav", "favourite")
    ),
    "list": Entry(_CLI + "workspaces.list:list_command", "List workspaces.", ("ls",)),
    "login": Entry(_CLI + "login:login", "Sign in to a server."),
    "logout": Entry(_CLI + "login:logout", "Sign out."),
    "logs": Entry(_CLI + "workspaces.logs:logs", "Show a workspace's build and agent logs."),
    "open": Entry(_CLI + "workspaces.openers:open_group", "Open a workspace in an editor."),
    "organizations": Entry(
        _CLI + "organizations:organizations", "Organizations and members.", ("organization", "org", "orgs")
    ),
    "ping": Entry(_CLI + "connect.ping:ping", "Measure the round trip to a workspace."),
    "port-forward": Entry(
        _CLI + "connect.portforward:port_forward", "Bring ports of a workspace here.", ("tunnel",)
    ),
    "provider": Entry(_CLI + "provider:provider", "Serve the Terraform provider without a server."),
    "provisioner": Entry(
        _CLI + "provisioners.command:provisioners", "Provisioners and their jobs.", ("provisioners",)
    ),
    "proxy": Entry(_CLI + "proxy:proxy", "Run a workspace proxy."),
    "publickey": Entry(
        _CLI + "publickey:publickey", "Show the public key that git in workspaces uses.", ("pubkey",)
    ),
    "quickstart": Entry(
        _CLI + "quickstart.command:quickstart", "From nothing to a workspace's shell in one command."
    ),
    "rename": Entry(_CLI + "workspaces.settings:rename", "Rename a workspace."),
    "repair": Entry(
        _CLI + "workspaces.repairing:repair", "Say what is wrong with a workspace, and put it right after a yes."
    ),
    "restart": Entry(_CLI + "workspaces.transitions:restart", "Stop a workspace and start it again."),
    "schedule": Entry(_CLI + "workspaces.schedule:schedule", "When workspaces start and stop by themselves."),
    "server": Entry(_CLI + "server:server", "Run the server."),
    "show": Entry(_CLI + "workspaces.show:show", "Show a workspace's resources and agents."),
    "speedtest": Entry(_CLI + "connect.speedtest:speedtest", "Measure throughput to a workspace."),
    "ssh": Entry(_CLI + "ssh.command:ssh", "Enter a workspace, or run a command in it."),
    "start": Entry(_CLI + "workspaces.transitions:start", "Start a workspace."),
    "state": Entry(_CLI + "workspaces.state:state", "Read or replace a workspace's Terraform state."),
    "stop": Entry(_CLI + "workspaces.transitions:stop", "Stop a workspace."),
    "templates": Entry(_CLI + "templates.command:templates", "Templates and their versions.", ("template",)),
    "tokens": Entry(_CLI + "tokens:tokens", "API tokens.", ("token",)),
    "unfavorite": Entry(_CLI + "workspaces.settings:unfavorite", "Undo favorite.", ("unfav", "unfavourite")),
    "update": Entry(
        _CLI + "workspaces.updating:update", "Move a workspace to its template's active version and start it."
    ),
    "users": Entry(_CLI + "users:users", "Users.", ("user",)),
    "version": Entry(_CLI + "version:make_command", "Show the version of this program.", is_factory=True),
    "whoami": Entry(_CLI + "login:whoami", "Show who is signed in, and where."),
}

EPILOG = "Every command has --help. Global options may stand before or after the command."


def build_root() -> click.Group:
    """The `devyard` command."""

    @click.group(cls=LazyGroup, entries=COMMANDS, epilog=EPILOG, params=list(GLOBAL_OPTIONS))
    @click.pass_context
    def devyard(ctx: click.Context, /, **values: object) -> None:
        """Self-hosted cloud development environments."""
        ctx.obj = Settings.from_options(values)
        ctx.call_on_close(ctx.obj.close)

    return devyard


def run_command(arguments: Sequence[str]) -> int:
    """Runs one command line; the exit status. Never raises."""
    is_verbose = "-v" in arguments or "--verbose" in arguments
    try:
        command = build_root()
        _lose_no_line(sys.stdout)
        result = command.main(hoist_globals(list(arguments)), prog_name="devyard", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BaseException as error:
        return report_failure(error, is_verbose=is_verbose)


def _lose_no_line(stream: TextIO | None) -> None:
    """A terminal that lacks a character gets a question mark for it, not the end of the command."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="replace")
