"""One stream to an agent: asks the server for relays and tickets, and dials the first that answers.

Called by ssh, ping, port-forward and speedtest. Invariant: an agent that is on its way back (a relay restarted,
a lid was opened) is waited for a short while before this gives up.
"""

import socket
import time
from typing import NamedTuple
from uuid import UUID

from devyard.cli.failures import CommandFailed
from devyard.net.client import Head, open_stream
from devyard.net.upgrade import AgentRefusedError, RelayRefusedError, StreamError
from devyard.sdk.agents import get_connection
from devyard.sdk.client import Client
from devyard.wire.agents import AgentConnectionInfo

PATIENCE_S = 15.0
PAUSE_S = 0.25


class AgentStream(NamedTuple):
    """A connected socket, the relay it goes through, and the agent's SSH host keys."""

    socket: socket.socket
    relay_url: str
    host_keys: list[str]


def open_agent_stream(
    client: Client, agent_id: UUID, head: Head, *, patience_s: float = PATIENCE_S
) -> AgentStream:
    """A stream of the kind that `head` says. Raises CommandFailed; AgentRefusedError passes."""
    deadline = time.monotonic() + patience_s
    while True:
        access = get_connection(client, agent_id)
        if head.kind == "ssh" and not access.host_keys and time.monotonic() < deadline:
            # It has only just connected: the server stores in a moment by which keys to know it.
            time.sleep(PAUSE_S)
            continue
        try:
            return dial(access, head)
        except AgentRefusedError:
            raise
        except RelayRefusedError as error:
            if error.status not in (401, 404, 429, 502, 503) or time.monotonic() > deadline:
                raise CommandFailed(f"The agent can't be reached: {error}") from None
        except StreamError as error:
            if time.monotonic() > deadline:
                raise CommandFailed(str(error)) from None
        time.sleep(PAUSE_S)


def dial(access: AgentConnectionInfo, head: Head) -> AgentStream:
    """Through the first relay that opens the stream. Raises StreamError leaves of the last one."""
    if not access.relays:
        raise StreamError("The server names no relay for this agent; it may be starting. Try again in a moment.")
    failure: StreamError | None = None
    for relay in access.relays:
        try:
            return AgentStream(open_stream(relay.url, relay.ticket, head), relay.url, access.host_keys)
        except AgentRefusedError:
            raise
        except StreamError as error:
            failure = error
        except ValueError as error:
            failure = StreamError(f"The server names a relay that can't be used: {error}.")
    assert failure is not None
    raise failure
