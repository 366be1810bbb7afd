"""One client's stream from its request to its end: attach an agent's spare connection, then splice.

The client gets its 101 as soon as the open line is on its way to the agent. Until the agent has accepted, the
client's first bytes go to the agent at once and are kept (bounded), so that a spare connection that turns out to
be dead is replaced by the next without the client noticing. docs/design/tunnels.md
"""

import asyncio
import socket
import uuid
from uuid import UUID

from devyard.net import rawsock
from devyard.net.client import tune
from devyard.net.framing import Accepted, PeerError
from devyard.net.rawsock import PEEK_BYTES
from devyard.net.splice import reset_on_close
from devyard.proxy.replies import SWITCHING
from devyard.proxy.spares import Spare, SparePool

ACCEPT_TIMEOUT_S = 3.0
MAX_EARLY_BYTES = 64 * 1024
MAX_ATTEMPTS = 3


class NoAgentError(Exception):
    """No spare connection of the agent accepted the stream; `was_switched` says that the client has its 101."""

    def __init__(self, was_switched: bool) -> None:
        super().__init__("no agent connection")
        self.was_switched = was_switched


class Attachment:
    """Joins `client` to a spare connection of one agent. Use `attach` once."""

    def __init__(self, client: socket.socket, agent_id: UUID, user_id: UUID | None, first_line: bytes) -> None:
        self.stream_id = uuid.uuid4().hex
        self._client = client
        self._agent_id, self._user_id = agent_id, user_id
        self._early = bytearray(first_line)
        self._was_switched = False

    @property
    def early_bytes(self) -> int:
        """How many bytes went to the agent before splicing began."""
        return len(self._early)

    async def attach(self, pool: SparePool, timeout_s: float) -> socket.socket:
        """The agent's connection, ready to be spliced to the client's. Raises NoAgentError, OSError (client)."""
        for _ in range(MAX_ATTEMPTS):
            spare = await pool.take(self._agent_id, timeout_s)
            if spare is None:
                break
            try:
                if await self._try(spare):
                    return spare.sock
            except BaseException:
                spare.sock.close()
                raise
            reset_on_close(spare.sock)
            spare.sock.close()
        raise NoAgentError(self._was_switched)

    async def _try(self, spare: Spare) -> bool:
        opening = _Opening(self._client, spare, self._early)
        line = spare.side.open(self.stream_id, self._user_id)
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT_S):
                await rawsock.send_all(spare.sock, line + bytes(self._early))
        except (OSError, TimeoutError):
            return False
        if not self._was_switched:
            self._was_switched = True
            await rawsock.send_all(self._client, SWITCHING)
            tune(self._client)
        return await opening.run()


class _Opening:
    """The moment between open and accept on one spare connection."""

    def __init__(self, client: socket.socket, spare: Spare, early: bytearray) -> None:
        self._loop = asyncio.get_running_loop()
        self._client, self._spare, self._early = client, spare, early
        self._accepted: asyncio.Future[bool] = self._loop.create_future()
        self._unsent = b""

    async def run(self) -> bool:
        """True once the agent has accepted and has all early bytes; False when this connection is no good."""
        client_fd, spare_fd = self._client.fileno(), self._spare.sock.fileno()
        self._loop.add_reader(spare_fd, self._on_agent)
        self._loop.add_reader(client_fd, self._on_client)
        try:
            async with asyncio.timeout(ACCEPT_TIMEOUT_S):
                if not await self._accepted:
                    return False
                self._loop.remove_reader(client_fd)
                await rawsock.send_all(self._spare.sock, self._unsent)
                return True
        except (TimeoutError, OSError):
            return False
        finally:
            self._loop.remove_reader(client_fd)
            self._loop.remove_reader(spare_fd)

    def _on_agent(self) -> None:
        sock = self._spare.sock
        try:
            data = sock.recv(PEEK_BYTES, socket.MSG_PEEK)
            used, events = self._spare.side.receive(data, self._loop.time())
            sock.recv(used)
        except BlockingIOError:
            return
        except (OSError, PeerError):
            self._settle(False)
            return
        if not data:
            self._settle(False)
        elif any(isinstance(event, Accepted) for event in events):
            self._settle(True)

    def _on_client(self) -> None:
        room = MAX_EARLY_BYTES - len(self._early)
        try:
            data = self._client.recv(room) if room > 0 else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""  # the splice meets the same error and reports it
        if not data:
            self._loop.remove_reader(self._client.fileno())
            return
        self._early += data
        try:
            sent = self._spare.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._settle(False)
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.remove_reader(self._client.fileno())

    def _settle(self, is_accepted: bool) -> None:
        self._loop.remove_reader(self._spare.sock.fileno())
        if not self._accepted.done():
            self._accepted.set_result(is_accepted)
