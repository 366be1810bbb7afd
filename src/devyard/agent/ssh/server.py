"""The SSH server of a workspace: one `serve` call per stream, no listening socket. docs/design/agent.md

Called by streams.py with a socket whose opening a relay has authorised by ticket, therefore without further
authentication (RFC 4252 `none`): who holds the stream is the workspace's user. Importing this module loads
asyncssh; do so off the event loop.
"""

import contextlib
import socket
import stat
from pathlib import Path

import asyncssh
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacketLogger

from devyard.agent.ssh.context import SSHContext
from devyard.agent.ssh.session import Session

CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
"""ChaCha20 is left out: the client's order decides, and it would choose what is four times slower here."""
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256")
KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
)
WINDOW_BYTES = 4 << 20
PACKET_BYTES = 256 * 1024
LOGIN_TIMEOUT_S = 60.0
KEEPALIVE_INTERVAL_S = 30.0
KEEPALIVE_MAX = 12
"""A client that is silent for six minutes is given up: a lid may be closed for a moment."""


class Server(asyncssh.SSHServer):
    """What one client may do: everything the user may, unless file transfer is blocked."""

    def __init__(self, context: SSHContext) -> None:
        self._context = context

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Spares this connection the empty packets that asyncssh puts before each packet of data.

        They hide the chained IV of CBC ciphers (RFC 4251, 9.3.1), which are not offered here, and cost a
        system call each: half of all calls of a bulk transfer.
        """
        send_packet = conn.send_packet

        def send_used(packet_type: int, *fields: bytes, handler: SSHPacketLogger | None = None) -> None:
            if packet_type != MSG_IGNORE:
                send_packet(packet_type, *fields, handler=handler)

        setattr(conn, "send_packet", send_used)  # noqa: B010 (mypy refuses to assign to a method)

    def begin_auth(self, username: str) -> bool:
        """No authentication: the ticket was it."""
        return False

    def session_requested(self) -> Session:
        """A shell, a command or a subsystem; the session learns which."""
        return Session(self._context)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """`-L` and `-D` to a host and port as the workspace sees them."""
        return not self._context.is_file_transfer_blocked

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """`-R`: a port in the workspace that leads to the client."""
        return not self._context.is_file_transfer_blocked

    def unix_connection_requested(self, dest_path: str) -> bool:
        """`-L` to a unix socket."""
        return not self._context.is_file_transfer_blocked

    def unix_server_requested(self, listen_path: str) -> bool:
        """`-R` from a unix socket; one left behind by a lost connection is replaced."""
        if self._context.is_file_transfer_blocked:
            return False
        _remove_dead_socket(Path(listen_path))
        return True


async def serve(sock: socket.socket, context: SSHContext) -> None:
    """Serves one client on `sock` until it leaves. Errors of the peer end the connection quietly."""
    try:
        connection = await asyncssh.run_server(
            sock,
            config=None,
            server_factory=lambda: Server(context),
            server_host_keys=[asyncssh.import_private_key(context.host_key)],
            server_version="Devyard",
            kex_algs=KEY_EXCHANGES,
            encryption_algs=CIPHERS,
            mac_algs=MACS,
            compression_algs=None,
            encoding=None,
            line_editor=False,
            agent_forwarding=True,
            window=WINDOW_BYTES,
            max_pktsize=PACKET_BYTES,
            login_timeout=LOGIN_TIMEOUT_S,
            keepalive_interval=KEEPALIVE_INTERVAL_S,
            keepalive_count_max=KEEPALIVE_MAX,
            tcp_keepalive=False,
        )
    except (asyncssh.Error, OSError, TimeoutError):
        sock.close()
        return
    try:
        await connection.wait_closed()
    finally:
        connection.abort()


def _remove_dead_socket(path: Path) -> None:
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        probe = socket.socket(socket.AF_UNIX)
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        finally:
            probe.close()
