"""`devyard ping`: round trips to a workspace's agent and back, over a stream like any other."""

import os
import socket
import time
from datetime import UTC, datetime, timedelta

import click

from devyard.cli.connect.agentstream import open_agent_stream
from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.settings import Settings, variables
from devyard.cli.workspaces.targets import choose_agent, load_target, parse_target
from devyard.cli.workspaces.waiting import ensure_running, wait_for_agent
from devyard.net.client import Head
from devyard.net.upgrade import AgentRefusedError

MESSAGE_BYTES = 16


@click.command("ping")
@click.argument("workspace")
@click.option("-n", "--num", type=click.IntRange(0), default=10, help="How many; 0 for no end.")
@click.option(
    "--wait", "interval", type=read_duration, default="1s", envvar=variables("PING_WAIT"), help="Pause between."
)
@click.option(
    "-t", "--timeout", type=read_duration, default="5s", envvar=variables("PING_TIMEOUT"), help="Limit of each."
)
@click.option("--time", "shows_time", is_flag=True, help="Show when each answer came.")
@click.option("--utc", is_flag=True, help="The same in UTC.")
@click.pass_obj
def ping(
    settings: Settings,
    workspace: str,
    num: int,
    interval: timedelta,
    timeout: timedelta,
    shows_time: bool,
    utc: bool,
) -> None:
    """Measure the round trip to a workspace."""
    client = settings.client()
    target = parse_target(workspace)
    found = ensure_running(client, load_target(client, target), starts=False)
    agent = wait_for_agent(client, choose_agent(found, target.agent), "no")
    try:
        stream = open_agent_stream(client, agent.id, Head("ping"))
    except AgentRefusedError as error:
        raise CommandFailed(f"The agent refused: {error}") from None
    stream.socket.settimeout(timeout.total_seconds())
    label = f"{found.name}.{agent.name}"
    took_ms: list[float] = []
    sent = 0
    try:
        while num == 0 or sent < num:
            if sent:
                time.sleep(interval.total_seconds())
            sent += 1
            took_ms.append(_ping_once(stream.socket, label, timeout))
            stamp = _stamp(utc) if shows_time or utc else ""
            click.echo(f"{stamp}pong from {label} via {stream.relay_url}: {took_ms[-1]:.2f} ms")
    except KeyboardInterrupt:
        click.echo("", err=True)
    if took_ms:
        average = sum(took_ms) / len(took_ms)
        click.echo(
            f"{sent} sent, {len(took_ms)} answered; min {min(took_ms):.2f} ms, "
            f"average {average:.2f} ms, max {max(took_ms):.2f} ms"
        )


def measure_round_trip(stream: socket.socket) -> float:
    """Milliseconds for a few bytes to the agent and back on a `ping` stream. Raises OSError."""
    message = os.urandom(MESSAGE_BYTES)
    began = time.perf_counter()
    stream.sendall(message)
    got = b""
    while len(got) < len(message):
        chunk = stream.recv(len(message) - len(got))
        if not chunk:
            raise ConnectionResetError("the stream ended")
        got += chunk
    took_ms = (time.perf_counter() - began) * 1000
    if got != message:
        raise ConnectionResetError("the echo differs from what was sent")
    return took_ms


def _ping_once(stream: socket.socket, label: str, timeout: timedelta) -> float:
    try:
        return measure_round_trip(stream)
    except TimeoutError:
        raise CommandFailed(f"{label} did not answer within {timeout.total_seconds():g} s.") from None
    except OSError as error:
        raise CommandFailed(f"The connection to {label} broke: {error}.") from None


def _stamp(utc: bool) -> str:
    now = datetime.now(UTC) if utc else datetime.now().astimezone()
    return now.isoformat(timespec="milliseconds") + " "
