"""A new connection until it is known whose it is: peek at the first request's head, then say relay or API.

Nothing is consumed. Bounds: head size and time per connection, number of connections at this stage (beyond it the
oldest goes first: it has had its chance). Callbacks rather than tasks, since every API connection passes here.
"""

import asyncio
import socket
from collections.abc import Callable

from devyard.net.requesthead import (
    MAX_HEAD_BYTES,
    HeadError,
    RequestHead,
    find_head_end,
    is_for_relay,
    parse_request_head,
)

HEAD_TIMEOUT_S = 10.0
MAX_ARRIVALS = 4096
RECHECK_S = 0.05
ACCEPT_BURST = 64
ACCEPT_PAUSE_S = 0.1

OnRelay = Callable[[socket.socket, RequestHead], None]
OnApi = Callable[[socket.socket], None]
OnBad = Callable[[socket.socket, int, str], None]


class Arrivals:
    """Accepts on a listening socket and sorts. The callbacks own the connection from then on."""

    def __init__(
        self, listener: socket.socket, prefix: str, on_relay: OnRelay, on_api: OnApi, on_bad: OnBad
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._prefix = prefix.encode("ascii")
        self._on_relay, self._on_api, self._on_bad = on_relay, on_api, on_bad
        self._waiting: dict[socket.socket, _Arrival] = {}
        self._is_open = False

    def start(self) -> None:
        """Begins to accept."""
        self._listener.setblocking(False)
        self._is_open = True
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def stop(self) -> None:
        """Stops accepting, closes the listener and what is not sorted yet."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for arrival in list(self._waiting.values()):
            self._forget(arrival)
            arrival.sock.close()

    def _accept(self) -> None:
        for _ in range(ACCEPT_BURST):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError:  # no descriptors left: let some connections end
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(ACCEPT_PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            self._look(_Arrival(sock))

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _look(self, arrival: "_Arrival") -> None:
        sock = arrival.sock
        try:
            data = sock.recv(MAX_HEAD_BYTES + 1, socket.MSG_PEEK)
        except BlockingIOError:
            self._wait(arrival, 1)
            return
        except OSError:
            self._drop(arrival)
            return
        if not data:
            self._drop(arrival)
            return
        try:
            if not (data[:1].isalpha() or data[:1] in b"\r\n"):
                raise HeadError(400, "This port speaks HTTP.")
            end = find_head_end(data)
            if end is None:
                self._wait_for_more(arrival, len(data))
                return
            head = parse_request_head(data) if is_for_relay(data, self._prefix) else None
        except HeadError as error:
            self._forget(arrival)
            self._on_bad(sock, error.status, error.reason)
            return
        self._forget(arrival)
        if head is None:
            self._on_api(sock)
        else:
            sock.recv(head.size_bytes)
            self._on_relay(sock, head)

    def _wait_for_more(self, arrival: "_Arrival", seen_bytes: int) -> None:
        """The poller must not report the bytes already seen again and again: ask for one more than those."""
        if seen_bytes > arrival.seen_bytes:
            arrival.seen_bytes = seen_bytes
            self._wait(arrival, seen_bytes + 1)
            return
        # Readable without new bytes: the peer ended its side, or the kernel ignores the mark.
        self._loop.remove_reader(arrival.sock.fileno())
        arrival.is_watched = False
        arrival.recheck = self._loop.call_later(RECHECK_S, self._look, arrival)

    def _wait(self, arrival: "_Arrival", low_water: int) -> None:
        sock = arrival.sock
        if low_water > 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
            arrival.has_mark = True
        if sock not in self._waiting:
            if len(self._waiting) >= MAX_ARRIVALS:
                self._drop(next(iter(self._waiting.values())))
            self._waiting[sock] = arrival
            arrival.deadline = self._loop.call_later(HEAD_TIMEOUT_S, self._expire, arrival)
        if not arrival.is_watched:
            arrival.is_watched = True
            self._loop.add_reader(sock.fileno(), self._look, arrival)

    def _expire(self, arrival: "_Arrival") -> None:
        self._forget(arrival)
        if arrival.seen_bytes:
            self._on_bad(arrival.sock, 408, "The request head did not arrive in time.")
        else:
            arrival.sock.close()

    def _drop(self, arrival: "_Arrival") -> None:
        self._forget(arrival)
        arrival.sock.close()

    def _forget(self, arrival: "_Arrival") -> None:
        if arrival.is_watched:
            arrival.is_watched = False
            self._loop.remove_reader(arrival.sock.fileno())
        for timer in (arrival.deadline, arrival.recheck):
            if timer is not None:
                timer.cancel()
        if arrival.has_mark:
            arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._waiting.pop(arrival.sock, None)


class _Arrival:
    """One connection and what is registered for it."""

    __slots__ = ("deadline", "has_mark", "is_watched", "recheck", "seen_bytes", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.seen_bytes = 0
        self.is_watched = False
        self.has_mark = False
        self.deadline: asyncio.TimerHandle | None = None
        self.recheck: asyncio.TimerHandle | None = None
