"""The relay: owns the public port, keeps the agents' spare connections, joins clients' streams to them.

`run_relay` is the whole program; everything it needs to decide about a stream is in the ticket, so that no stream
waits for the API. What is not addressed to /relay/ goes to an API process, unread. docs/design/tunnels.md
"""

import asyncio
import base64
import binascii
import signal
import socket
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devyard.net.client import tune
from devyard.net.relayconfig import RelayConfig
from devyard.net.requesthead import RequestHead
from devyard.net.splice import PipePool, SpliceResult, reset_on_close, splice_sockets
from devyard.net.tickets import TicketError, load_public_keys, verify_ticket
from devyard.proxy.apilinks import ApiLinks
from devyard.proxy.arrivals import Arrivals
from devyard.proxy.replies import SWITCHING, encode_reply, reply_and_close, send_and_close
from devyard.proxy.spares import SparePool, StreamCounts
from devyard.proxy.streams import Attachment, NoAgentError
from devyard.runtime.limits import raise_file_limit
from devyard.runtime.parent import ControlPipe
from devyard.runtime.watchdog import Stall, Watchdog
from devyard.wire.streampaths import HEALTH_PATH
from devyard.wire.streams import (
    AGENT_PATH,
    CLIENT_PATH,
    MAX_LINE_BYTES,
    RELAY_PREFIX,
    STREAM_HEAD_HEADER,
    UPGRADE_PROTOCOL,
    TicketClaims,
)

MAX_TASKS = 20_000

_log = structlog.get_logger("relay")


class Refusal(Exception):
    """The request cannot be served; becomes an HTTP answer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Relay:
    """One relay on one listening socket. `start`, then `stop`."""

    def __init__(self, config: RelayConfig, listener: socket.socket) -> None:
        self._config = config
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pipes = PipePool()
        # Each stream needs a client's connection beside the agent's: spares get half of what can be open.
        spares_total = min(config.spares_total, raise_file_limit() // 2)
        self._spares = SparePool(per_agent=config.spares_per_agent, total=spares_total)
        self._counts = StreamCounts(per_user=config.streams_per_user, per_workspace=config.streams_per_workspace)
        self._api = ApiLinks(
            Path(config.handover_path),
            self._on_keys,
            self._on_refused,
            max_waiting=config.waiting_connections,
            max_wait_s=config.waiting_s,
        )
        self._arrivals = Arrivals(
            listener, RELAY_PREFIX, self._on_relay_request, self._api.hand_over, self._on_refused
        )

    def start(self) -> None:
        """Begins to accept connections."""
        self._arrivals.start()
        self._spawn(self._spares.run_pings())

    def stop_accepting(self) -> None:
        """Lets running streams go on, takes no new connection."""
        self._arrivals.stop()

    async def stop(self) -> None:
        """Ends everything; running streams are reset, so that neither side takes them for complete."""
        self._arrivals.stop()
        self._api.close()
        self._spares.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pipes.close()

    def _on_keys(self, raw_keys: Mapping[str, bytes]) -> None:
        self._keys = load_public_keys(raw_keys)

    def _on_refused(self, sock: socket.socket, status: int, message: str) -> None:
        self._spawn(reply_and_close(sock, status, message))

    def _on_relay_request(self, sock: socket.socket, head: RequestHead) -> None:
        if len(self._tasks) >= MAX_TASKS:
            sock.close()
            return
        self._spawn(self._serve(sock, head))

    async def _serve(self, sock: socket.socket, head: RequestHead) -> None:
        try:
            if head.path == HEALTH_PATH:
                await send_and_close(sock, encode_reply(200, {"status": "ok"}))
            elif head.path == AGENT_PATH:
                self._add_spare(sock, self._check_upgrade(head, "agent"))
            elif head.path == CLIENT_PATH:
                await self._serve_client(sock, head, self._check_upgrade(head, "client"))
            else:
                raise Refusal(404, "The relay knows no such address.")
        except Refusal as refusal:
            await reply_and_close(sock, refusal.status, refusal.message, refusal.headers)
        except OSError:  # the peer is gone
            sock.close()
        except BaseException:
            reset_on_close(sock)
            sock.close()
            raise

    def _check_upgrade(self, head: RequestHead, kind: str) -> TicketClaims:
        if head.method != "GET" or head.headers.get("upgrade", "").lower() != UPGRADE_PROTOCOL:
            raise Refusal(
                426,
                f"This address only serves upgrades to {UPGRADE_PROTOCOL}.",
                {"Upgrade": UPGRADE_PROTOCOL},
            )
        scheme, _, ticket = head.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal(401, "A stream ticket is required.")
        try:
            claims = verify_ticket(ticket.strip(), self._keys, time.time())
        except TicketError as error:
            raise Refusal(401, error.reason) from None
        if claims.kind != kind:
            raise Refusal(403, f"This ticket is for {claims.kind} connections.")
        return claims

    def _add_spare(self, sock: socket.socket, claims: TicketClaims) -> None:
        if not self._spares.has_room():
            raise Refusal(503, "This relay has no room for more agent connections.")
        if sock.send(SWITCHING) != len(SWITCHING):
            raise ConnectionResetError("the agent does not take the answer")
        tune(sock)
        self._spares.add(claims.agent_id, sock)

    async def _serve_client(self, sock: socket.socket, head: RequestHead, claims: TicketClaims) -> None:
        first_line = _read_first_line(head)
        leave = self._counts.enter(claims.user_id, claims.workspace_id)
        if isinstance(leave, str):
            raise Refusal(429, leave)
        began = time.monotonic()
        peer = _name_peer(sock)
        attachment = Attachment(sock, claims.agent_id, claims.user_id, first_line)
        try:
            agent = await attachment.attach(self._spares, self._config.attach_s)
            opened_s = time.monotonic() - began
            result = await splice_sockets(sock, agent, self._pipes, sent_forward=attachment.early_bytes)
        except NoAgentError as error:
            if not error.was_switched:
                raise Refusal(503, "The agent is not connected to this relay.") from None
            reset_on_close(sock)
            sock.close()
            result, opened_s = SpliceResult(0, 0, "the agent did not accept"), 0.0
        finally:
            leave()
        _log.info(
            "stream",
            stream_id=attachment.stream_id,
            user_id=str(claims.user_id) if claims.user_id else None,
            workspace_id=str(claims.workspace_id),
            agent_id=str(claims.agent_id),
            peer=peer,
            bytes_to_agent=result.bytes_forward,
            bytes_to_client=result.bytes_back,
            opened_s=round(opened_s, 4),
            duration_s=round(time.monotonic() - began, 3),
            error=result.error or None,
        )

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("relay_task_failed", exc_info=error)


async def run_relay(config: RelayConfig, control: ControlPipe) -> None:
    """Runs until SIGTERM, SIGINT or the parent's end. SIGUSR1 stops accepting, streams go on."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    relay = Relay(config, socket.socket(fileno=config.listen_fd))
    watchdog = Watchdog(_report_stall)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, relay.stop_accepting)
    loop.add_reader(control.fileno(), lambda: ended.set() if control.on_parent_gone() else None)
    watchdog.start()
    relay.start()
    try:
        await ended.wait()
    finally:
        watchdog.stop()
        loop.remove_reader(control.fileno())
        await relay.stop()


def _report_stall(stall: Stall) -> None:
    _log.warning("loop_stalled", blocked_s=round(stall.blocked_s, 3), where=stall.where, frames=stall.stack)


def _read_first_line(head: RequestHead) -> bytes:
    text = head.headers.get(STREAM_HEAD_HEADER.lower(), "")
    if not text:
        return b""
    try:
        line = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"The header {STREAM_HEAD_HEADER} is malformed.") from None
    if not line.endswith(b"\n") or line.count(b"\n") != 1 or len(line) > MAX_LINE_BYTES:
        raise Refusal(400, f"The header {STREAM_HEAD_HEADER} is not one line.")
    return line


def _name_peer(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except (OSError, ValueError):
        return ""
    return f"{host}:{port}"
