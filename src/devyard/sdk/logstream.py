"""Following a log over a WebSocket: every line once, in order, across reconnects, until the job has ended.

Called where a command shows a log live. `websockets` is imported here only, when a stream opens. When the server
or something between refuses WebSockets, the same lines come by polling.
"""

import time
from collections.abc import Callable, Iterator

import msgspec

from devyard.sdk.client import API, SESSION_HEADER, Client
from devyard.wire.jobs import ProvisionerJobLog
from devyard.wire.workspaces import AgentLog

MAX_MESSAGE_BYTES = 4 << 20
POLL_S = 0.5
RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)


def follow_job_log(
    client: Client,
    path: str,
    is_over: Callable[[], bool],
    on_silence: Callable[[], None] | None = None,
    silence_s: float = 0.5,
) -> Iterator[ProvisionerJobLog]:
    """Lines of a job's log at `path` (`/workspacebuilds/ID/logs`), ending when `is_over` says so after a close.

    `on_silence` is called after each `silence_s` without a line.
    """
    seen = 0
    decode = msgspec.json.Decoder(ProvisionerJobLog).decode
    for attempt in _attempts():
        try:
            idle_s = silence_s if on_silence else None
            for message in read_messages(client, f"{path}?follow=true&after={seen}", idle_s):
                if not message:
                    if on_silence:
                        on_silence()
                    continue
                line = decode(message)
                if line.id > seen:
                    seen = line.id
                    yield line
        except StreamRefused:
            yield from _poll_job_log(client, path, seen, is_over, on_silence)
            return
        except StreamBroken:
            pass
        if is_over():
            yield from client.get(path, list[ProvisionerJobLog], after=seen or None)
            return
        time.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])


def follow_agent_log(client: Client, path: str, is_over: Callable[[], bool]) -> Iterator[AgentLog]:
    """Lines of an agent's log at `path`; messages are arrays of lines. Ends when `is_over` says so."""
    seen = 0
    decode = msgspec.json.Decoder(list[AgentLog]).decode
    for attempt in _attempts():
        try:
            for message in read_messages(client, f"{path}?follow=true&after={seen}", idle_s=1.0):
                for line in decode(message) if message else []:
                    if line.id > seen:
                        seen = line.id
                        yield line
                if is_over():
                    break
        except (StreamRefused, StreamBroken):
            for line in client.get(path, list[AgentLog], after=seen or None):
                seen = max(seen, line.id)
                yield line
        if is_over():
            yield from client.get(path, list[AgentLog], after=seen or None)
            return
        time.sleep(RETRY_S[min(attempt, 2)])


class StreamRefused(Exception):
    """The handshake was answered with something else than an upgrade."""


class StreamBroken(Exception):
    """The connection ended without a close, or could not be opened."""


def read_messages(client: Client, target: str, idle_s: float | None = None) -> Iterator[bytes]:
    """Messages of a WebSocket below /api/v2 until the server closes it; empty ones every `idle_s` of silence.

    Raises StreamRefused, StreamBroken.
    """
    from websockets.exceptions import ConnectionClosed, InvalidHandshake
    from websockets.sync.client import connect

    scheme, _, rest = client.url.partition("://")
    url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}{API}{target}"
    headers = dict(client.headers)
    user_agent = headers.pop("User-Agent", "devyard")
    if token := headers.get(SESSION_HEADER):
        headers["Cookie"] = f"coder_session_token={token}"
    try:
        socket = connect(
            url,
            additional_headers=headers,
            user_agent_header=user_agent,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=15,
            close_timeout=2,
        )
    except InvalidHandshake as error:
        raise StreamRefused(str(error)) from error
    except (OSError, TimeoutError) as error:
        raise StreamBroken(str(error)) from error
    with socket:
        while True:
            try:
                message = socket.recv(timeout=idle_s)
            except TimeoutError:
                yield b""
                continue
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    raise StreamBroken("the connection was cut") from closed
                return
            yield message.encode() if isinstance(message, str) else message


def _poll_job_log(
    client: Client, path: str, seen: int, is_over: Callable[[], bool], on_silence: Callable[[], None] | None
) -> Iterator[ProvisionerJobLog]:
    while True:
        over = is_over()
        before = seen
        for line in client.get(path, list[ProvisionerJobLog], after=seen or None):
            seen = max(seen, line.id)
            yield line
        if over:
            return
        if on_silence and seen == before:
            on_silence()
        time.sleep(POLL_S)


def _attempts() -> Iterator[int]:
    attempt = 0
    while True:
        yield attempt
        attempt += 1
