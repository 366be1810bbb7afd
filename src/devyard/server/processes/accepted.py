"""An API process's end of the handover: registers at the relay, feeds accepted connections to uvicorn.

Answers Taken before it reads from a connection, so that the relay can give those it never read to another
process. Reconnects for ever: a relay that was restarted gets its keys and its API back at once. The other end is
proxy/apilinks.py. docs/design/processes.md
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from devyard.net.handover import Draining, Hello, Taken, connect, encode_packet, receive_connections

RETRY_S = 0.05
MAX_RETRY_S = 1.0
BATCH = 32
FULL_CHECK_S = 0.1
REPORT_S = 1.0

_log = structlog.get_logger("api")


class AcceptedConnections:
    """Brings connections in until `drain`. `make_protocol` builds an asyncio protocol per connection."""

    def __init__(
        self,
        path: Path,
        stream_keys: Mapping[str, bytes],
        make_protocol: Callable[[], asyncio.Protocol],
        count_open: Callable[[], int],
        *,
        max_open: int,
    ) -> None:
        self._path = path
        self._stream_keys = dict(stream_keys)
        self._make_protocol, self._count_open = make_protocol, count_open
        self._max_open = max_open
        self._link: socket.socket | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Registers, serves, registers again when the relay is gone; for ever."""
        retry_s = RETRY_S
        while not self._is_draining:
            try:
                link = connect(self._path)
                hello = Hello(pid=os.getpid(), stream_keys=self._stream_keys)
                link.send(encode_packet(hello))
            except OSError:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, MAX_RETRY_S)
                continue
            retry_s = RETRY_S
            self._link = link
            self.registered.set()
            with contextlib.closing(link):
                await self._receive(link)
            self._link = None
            if not self._is_draining:
                _log.warning("relay_gone", hint="registering again")

    def drain(self) -> None:
        """Asks the relay for no more connections and takes those already on their way."""
        self._is_draining = True
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.send(encode_packet(Draining()))
                self._take(self._link)

    async def _receive(self, link: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()

        def on_readable() -> None:
            if self._count_open() >= self._max_open:
                # The relay keeps what this process does not take, for others or for later.
                loop.remove_reader(link.fileno())
                loop.call_later(FULL_CHECK_S, resume)
                return
            try:
                is_gone = self._take(link)
            except OSError:
                is_gone = True
            if is_gone and not gone.done():
                loop.remove_reader(link.fileno())
                gone.set_result(None)

        def resume() -> None:
            if not gone.done():
                loop.add_reader(link.fileno(), on_readable)

        loop.add_reader(link.fileno(), on_readable)
        reporting = asyncio.ensure_future(self._report_load(link))
        try:
            await gone
        finally:
            reporting.cancel()
            if not gone.done():
                gone.cancel()
            loop.remove_reader(link.fileno())

    async def _report_load(self, link: socket.socket) -> None:
        """Tells the relay when connections have ended, so that it spreads new ones evenly."""
        reported = -1
        while True:
            await asyncio.sleep(REPORT_S)
            count = self._count_open()
            if count != reported:
                reported = count
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    link.send(encode_packet(Taken(0, count)))

    def _take(self, link: socket.socket) -> bool:
        connections, is_gone = receive_connections(link, BATCH)
        if connections:
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                open_connections = self._count_open() + len(connections)
                link.send(encode_packet(Taken(len(connections), open_connections)))
        for connection in connections:
            task = asyncio.ensure_future(self._adopt(connection))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)
        return is_gone

    async def _adopt(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # the client is gone already
            connection.close()
