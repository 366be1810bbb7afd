"""`devyard port-forward`: ports of a workspace on this machine. One stream per accepted connection.

Invariants: a port that can't be opened here fails the command before anything is forwarded, the number of
connections at a time is bounded, and one that fails harms no other.
"""

import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import click

from devyard.cli.connect import presence
from devyard.cli.connect.agentstream import open_agent_stream
from devyard.cli.connect.pump import pump
from devyard.cli.failures import CommandFailed
from devyard.cli.output import note
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.targets import choose_agent, load_target, parse_target
from devyard.cli.workspaces.waiting import ensure_running, wait_for_agent
from devyard.net.client import Head
from devyard.sdk.client import Client

MAX_CONNECTIONS = 256
MAX_PORTS = 1024


class Forward(NamedTuple):
    """A port here and a port there."""

    local_host: str
    local_port: int
    remote_host: str
    remote_port: int


@click.command("port-forward")
@click.argument("workspace")
@click.option(
    "-p",
    "--tcp",
    multiple=True,
    envvar=variables("PORT_FORWARD_TCP"),
    metavar="[ADDRESS:]LOCAL[:REMOTE]",
    help="A port, a range 8000-8010, or a comma list; repeatable.",
)
@click.option("--disable-autostart", is_flag=True, envvar=variables("SSH_DISABLE_AUTOSTART"))
@click.pass_obj
def port_forward(settings: Settings, workspace: str, tcp: tuple[str, ...], disable_autostart: bool) -> None:
    """Bring ports of a workspace to this machine, until Ctrl-C."""
    forwards = [forward for text in tcp for forward in parse_forwards(text)]
    if not forwards:
        raise CommandFailed(f"Which ports? Write: devyard port-forward {workspace} --tcp 8080:80")
    if len(forwards) > MAX_PORTS:
        raise CommandFailed(f"{len(forwards)} ports are more than the {MAX_PORTS} that one command forwards.")
    client = settings.client()
    target = parse_target(workspace)
    found = ensure_running(client, load_target(client, target), starts=not disable_autostart)
    agent = wait_for_agent(client, choose_agent(found, target.agent), "no")
    listeners = _listen(forwards)
    presence.keep_reporting_usage(client, found.id, agent.id, "")
    slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
    for forward, listener in zip(forwards, listeners, strict=True):
        note(
            f"{forward.local_host}:{listener.getsockname()[1]} → {found.name}.{agent.name} "
            f"{forward.remote_host}:{forward.remote_port}"
        )
        arguments = (client.twin(), agent.id, forward, listener, slots)
        threading.Thread(target=_accept, args=arguments, daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        note("")
    for listener in listeners:
        listener.close()


def parse_forwards(text: str) -> list[Forward]:
    """`8080`, `8080:80`, `127.0.0.1:8080:80`, `8000-8010:9000-9010`, and comma lists. Raises CommandFailed."""
    forwards = []
    for item in text.split(","):
        parts = _split(item.strip())
        host = parts.pop(0) if len(parts) > 1 and not _is_ports(parts[0]) else "127.0.0.1"
        if not 1 <= len(parts) <= 2 or not all(_is_ports(part) for part in parts):
            raise CommandFailed(f"{item!r} is no port; write 8080, 8080:80, 8000-8010 or 127.0.0.1:8080:80.")
        local = _range(parts[0], item)
        remote = _range(parts[-1], item)
        if len(local) != len(remote):
            raise CommandFailed(f"{item!r} pairs {len(local)} ports with {len(remote)}; both must be as many.")
        forwards += [Forward(host, here, "127.0.0.1", there) for here, there in zip(local, remote, strict=True)]
    return forwards


def _split(item: str) -> list[str]:
    if item.startswith("["):
        host, _, rest = item[1:].partition("]")
        return [host, *rest.lstrip(":").split(":")]
    return item.split(":")


def _is_ports(text: str) -> bool:
    return bool(text) and all(part.isdigit() for part in text.split("-", 1))


def _range(text: str, item: str) -> range:
    first, _, last = text.partition("-")
    ports = range(int(first), int(last or first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535:
        raise CommandFailed(f"{item!r} has no port between 1 and 65535.")
    return ports


def _listen(forwards: Sequence[Forward]) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    for forward in forwards:
        family = socket.AF_INET6 if ":" in forward.local_host else socket.AF_INET
        try:
            address = (forward.local_host, forward.local_port)
            listeners.append(socket.create_server(address, family=family, backlog=128))
        except OSError as error:
            for listener in listeners:
                listener.close()
            reason = (error.strerror or str(error)).partition(" (while")[0]  # create_server adds the address
            raise CommandFailed(
                f"Port {forward.local_port} can't be opened here: {reason}. "
                f"Choose another one: --tcp PORT:{forward.remote_port}"
            ) from None
    return listeners


def _accept(
    client: Client, agent_id: UUID, forward: Forward, listener: socket.socket, slots: threading.BoundedSemaphore
) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # closed at the end
            return
        if not slots.acquire(blocking=False):
            note(f"More than {MAX_CONNECTIONS} connections at a time; one was refused.")
            connection.close()
            continue
        arguments = (client.twin(), agent_id, forward, connection, slots)
        threading.Thread(target=_carry, args=arguments, daemon=True).start()


def _carry(
    client: Client,
    agent_id: UUID,
    forward: Forward,
    connection: socket.socket,
    slots: threading.BoundedSemaphore,
) -> None:
    try:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = open_agent_stream(client, agent_id, Head("tcp", forward.remote_host, forward.remote_port))
            pump(stream.socket, connection.fileno(), connection.fileno())
    except Exception as error:  # the session edge: one connection's failure is said, the others go on
        note(f"Port {forward.remote_port}: {error}")
    finally:
        client.close()
        slots.release()
