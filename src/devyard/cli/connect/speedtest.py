"""`devyard speedtest`: how many bytes a second a stream carries to the agent and back.

The agent echoes what it gets, so each byte crosses twice, at the same time: the figure is what one stream carries
in each direction while the other is as busy.
"""

import socket
import threading
import time
from datetime import timedelta

import click

from devyard.cli.connect.agentstream import open_agent_stream
from devyard.cli.durations import read_duration
from devyard.cli.failures import CommandFailed
from devyard.cli.output import print_json, render_table, to_json
from devyard.cli.settings import Settings
from devyard.cli.workspaces.targets import choose_agent, load_target, parse_target
from devyard.cli.workspaces.waiting import ensure_running, wait_for_agent
from devyard.net.client import Head

BLOCK_BYTES = 128 * 1024
INTERVAL_S = 1.0


@click.command("speedtest")
@click.argument("workspace")
@click.option("-t", "--time", "duration", type=read_duration, default="5s", help="How long to measure.")
@click.option("-d", "--direct", is_flag=True, hidden=True)
@click.option("--direction", type=click.Choice(["up", "down"]), default="down", hidden=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Output format.")
@click.pass_obj
def speedtest(
    settings: Settings, workspace: str, duration: timedelta, direct: bool, direction: str, output: str
) -> None:
    """Measure throughput to a workspace and back, both directions at once."""
    client = settings.client()
    target = parse_target(workspace)
    found = ensure_running(client, load_target(client, target), starts=False)
    agent = wait_for_agent(client, choose_agent(found, target.agent), "no")
    stream = open_agent_stream(client, agent.id, Head("ping")).socket
    seconds = min(max(duration.total_seconds(), 0.5), 120.0)
    try:
        intervals = measure(stream, seconds)
    except OSError as error:
        raise CommandFailed(f"The connection broke: {error}.") from None
    overall = sum(bits for _, _, bits in intervals), intervals[-1][1]
    total = {
        "start_time_seconds": 0.0,
        "end_time_seconds": overall[1],
        "throughput_mbits": overall[0] / overall[1] / 1e6,
    }
    rows = [
        {"start_time_seconds": began, "end_time_seconds": ended, "throughput_mbits": bits / (ended - began) / 1e6}
        for began, ended, bits in intervals
    ]
    if output == "json":
        print_json(to_json({"overall": total, "intervals": rows}))
        return
    table = [_row(row) for row in rows] + [_row(total)]
    click.echo(render_table(["interval", "throughput"], table), nl=False)


def measure(stream: socket.socket, seconds: float) -> list[tuple[float, float, float]]:
    """(began, ended, bits echoed) of each interval, in seconds from the start. Raises OSError."""
    began = time.perf_counter()
    deadline = began + seconds
    stream.settimeout(10)
    sender = threading.Thread(target=_send, args=(stream, deadline), daemon=True)
    sender.start()
    intervals: list[tuple[float, float, float]] = []
    mark, received = began, 0
    while True:
        data = stream.recv(BLOCK_BYTES)
        now = time.perf_counter()
        received += len(data)
        if now - mark >= INTERVAL_S or now >= deadline or not data:
            intervals.append((mark - began, now - began, received * 8.0))
            mark, received = now, 0
        if now >= deadline or not data:
            stream.close()
            return intervals


def _send(stream: socket.socket, deadline: float) -> None:
    block = bytes(BLOCK_BYTES)
    try:
        while time.perf_counter() < deadline:
            stream.sendall(block)
    except OSError:  # the receiver says so
        pass


def _row(row: dict[str, float]) -> list[str]:
    return [
        f"{row['start_time_seconds']:.2f}-{row['end_time_seconds']:.2f} s",
        f"{row['throughput_mbits']:.1f} Mbit/s",
    ]
