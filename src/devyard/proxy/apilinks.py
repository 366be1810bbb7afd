"""The API processes that registered, and the connections on their way to them.

A connection is this process's until the API process answers Taken; dies the API process before, it goes to the
next one, unread. While no process can take it, it waits, bounded in number and time, then gets a plain 503. Called
by relay.py; the other end is server/processes/accepted.py. docs/design/processes.md
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from devyard.net.handover import (
    MAX_PACKET_BYTES,
    Draining,
    HandoverError,
    Hello,
    Taken,
    decode_packet,
    listen,
    send_connection,
)

MAX_UNTAKEN = 128
"""Connections handed to one process and not taken yet; more wait here, where another process can get them."""
SWEEP_S = 0.5
LATE_S = 0.1
"""A process that has not taken a connection for this long is busy or stuck."""
NO_API = "The API is not available at the moment; try again in a few seconds."

_log = structlog.get_logger("relay")


class ApiLinks:
    """Listens for API processes and passes connections on. `on_refused` answers one that found no process."""

    def __init__(
        self,
        path: Path,
        on_keys: Callable[[Mapping[str, bytes]], None],
        on_refused: Callable[[socket.socket, int, str], None],
        *,
        max_waiting: int,
        max_wait_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listen(path)
        self._path = path
        self._on_keys, self._on_refused = on_keys, on_refused
        self._max_waiting, self._max_wait_s = max_waiting, max_wait_s
        self._links: list[_Link] = []
        self._waiting: deque[tuple[float, socket.socket]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Ends all links and the connections that wait."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._path.unlink(missing_ok=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for link in self._links:
            self._loop.remove_reader(link.sock.fileno())
            link.sock.close()
            self._waiting.extend(link.untaken)
        for _, sock in self._waiting:
            sock.close()

    def hand_over(self, sock: socket.socket) -> None:
        """Passes the connection to the least busy API process, now or as soon as there is one."""
        if not self._waiting and self._pass_on(sock):
            return
        if len(self._waiting) >= self._max_waiting:
            self._on_refused(sock, 503, NO_API)
            return
        self._waiting.append((self._loop.time() + self._max_wait_s, sock))
        self._schedule_sweep()

    def _pass_on(self, sock: socket.socket) -> bool:
        now = self._loop.time()
        for link in sorted(self._links, key=lambda link: link.load(now)):
            if not link.is_ready or len(link.untaken) >= MAX_UNTAKEN:
                continue
            try:
                send_connection(link.sock, sock)
            except BlockingIOError:
                continue
            except OSError:
                self._loop.call_soon(self._lose, link)
                continue
            link.untaken.append((self._loop.time(), sock))
            return True
        return False

    def _pass_waiting(self) -> None:
        while self._waiting and self._pass_on(self._waiting[0][1]):
            self._waiting.popleft()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            link = _Link(sock)
            self._links.append(link)
            self._loop.add_reader(sock.fileno(), self._on_packets, link)

    def _on_packets(self, link: "_Link") -> None:
        try:
            while True:
                data = link.sock.recv(MAX_PACKET_BYTES)
                if not data:
                    self._lose(link)
                    return
                self._on_packet(link, data)
        except BlockingIOError:
            pass
        except (OSError, HandoverError, ValueError) as error:
            _log.warning("api_link_broken", pid=link.pid, error=str(error))
            self._lose(link)
            return
        self._pass_waiting()

    def _on_packet(self, link: "_Link", data: bytes) -> None:
        packet = decode_packet(data)
        if isinstance(packet, Hello):
            self._on_keys(packet.stream_keys)
            link.pid, link.is_ready = packet.pid, True
            _log.debug("api_registered", pid=link.pid)
        elif isinstance(packet, Taken):
            link.open_connections = packet.open_connections
            for _ in range(min(packet.count, len(link.untaken))):
                link.untaken.popleft()[1].close()
        elif isinstance(packet, Draining):
            link.is_ready = False

    def _lose(self, link: "_Link") -> None:
        if link not in self._links:
            return
        self._links.remove(link)
        self._loop.remove_reader(link.sock.fileno())
        link.sock.close()
        _log.debug("api_gone", pid=link.pid, connections_returned=len(link.untaken))
        deadline = self._loop.time() + self._max_wait_s
        self._waiting.extendleft((deadline, sock) for _, sock in reversed(link.untaken))
        self._pass_waiting()
        self._schedule_sweep()

    def _schedule_sweep(self) -> None:
        if self._waiting and self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        self._pass_waiting()
        now = self._loop.time()
        kept = deque[tuple[float, socket.socket]]()
        for deadline, sock in self._waiting:
            if deadline > now:
                kept.append((deadline, sock))
            else:
                self._on_refused(sock, 503, NO_API)
        self._waiting = kept
        self._schedule_sweep()


class _Link:
    """One API process."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.pid = 0
        self.is_ready = False
        self.open_connections = 0
        self.untaken: deque[tuple[float, socket.socket]] = deque()

    def load(self, now: float) -> tuple[bool, int, int]:
        """Sort key: a process that does not take what it was given is the last choice."""
        is_late = bool(self.untaken) and now - self.untaken[0][0] > LATE_S
        return is_late, len(self.untaken) // 4, self.open_connections + len(self.untaken)
