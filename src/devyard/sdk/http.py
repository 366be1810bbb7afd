"""HTTP/1.1 over one kept connection, with blocking sockets: what every call of the CLI goes through.

Used by client.py alone. The standard library's `http.client` pulls in the e-mail package and always OpenSSL,
together more than half of what `devyard list` may take; heads are read by net/requesthead, as the relay does.
Invariants: a reply is bounded, a request is repeated only when it is idempotent and the kept connection had
gone stale, and credentials never follow a redirect to another host. RFC 9110, RFC 9112.
"""

import socket
from typing import IO, TYPE_CHECKING, NamedTuple

from devyard.net.address import RelayAddress, parse_relay_url
from devyard.net.requesthead import MAX_HEAD_BYTES, HeadError, parse_response_head
from devyard.sdk.proxies import find_proxy

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 64 << 20
MAX_REDIRECTS = 5
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({204, 304})


class TransportError(Exception):
    """No reply: the server can't be reached, broke off, or broke HTTP. The message is fit for a user."""


class Reply(NamedTuple):
    """A complete reply; `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


class _StaleConnection(Exception):
    """The kept connection ended before a byte of the reply had come."""


class HttpConnection:
    """One server, one connection at a time, opened when needed and again when it has gone."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 60.0,
        tls: "ssl.SSLContext | None" = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`timeout_s` bounds each wait for the server. Raises ValueError for a malformed `base_url`."""
        self.address = parse_relay_url(base_url)
        self.headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._tls = tls
        self._proxy = find_proxy(self.address, environment)
        self._socket: socket.socket | None = None
        self._reader: IO[bytes] | None = None

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> Reply:
        """The reply to one request, redirects of GET followed. `target` is path and query below the base URL.

        Raises TransportError.
        """
        reply = self._request_once(method, self.address.prefix + target, body, content_type, max_bytes)
        for _ in range(MAX_REDIRECTS):
            if method != "GET" or reply.status not in _REDIRECTS or not reply.headers.get("location"):
                return reply
            path = self._follow(reply.headers["location"])
            reply = self._request_once(method, path, None, content_type, max_bytes)
        raise TransportError(f"{self._origin()} redirects in a circle.")

    def close(self) -> None:
        """Ends the connection; the next request opens a new one."""
        if self._reader is not None:
            self._reader.close()
        if self._socket is not None:
            self._socket.close()
        self._reader = self._socket = None

    def _request_once(
        self, method: str, target: str, body: bytes | None, content_type: str, max_bytes: int
    ) -> Reply:
        head = self._encode_head(method, target, body, content_type)
        was_kept = self._socket is not None
        try:
            return self._exchange(method, head, body or b"", max_bytes)
        except _StaleConnection as error:
            self.close()
            if not (was_kept and method in IDEMPOTENT):
                raise TransportError(f"{self._origin()} ended the connection without an answer.") from error
        try:
            return self._exchange(method, head, body or b"", max_bytes)
        except _StaleConnection as error:
            self.close()
            raise TransportError(f"{self._origin()} ended the connection without an answer.") from error

    def _exchange(self, method: str, head: bytes, body: bytes, max_bytes: int) -> Reply:
        try:
            reader = self._open()
            assert self._socket is not None
            try:
                self._socket.sendall(head + body)
                first = reader.read(1)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise _StaleConnection from error
            if not first:
                raise _StaleConnection
            return self._read_reply(method, first, reader, max_bytes)
        except TimeoutError:
            self.close()
            raise TransportError(f"{self._origin()} did not answer within {self._timeout_s:g} s.") from None
        except (OSError, HeadError, ValueError) as error:
            self.close()
            raise TransportError(f"The connection to {self._origin()} failed: {_reason(error)}.") from None
        except TransportError:
            self.close()
            raise

    def _open(self) -> IO[bytes]:
        if self._socket is not None and self._reader is not None:
            if not _has_ended(self._socket):
                return self._reader
            self.close()
        sock = self._dial()
        self._socket, self._reader = sock, sock.makefile("rb")
        return self._reader

    def _dial(self) -> socket.socket:
        peer = self._proxy or self.address
        try:
            sock = socket.create_connection((peer.host, peer.port), timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            what = f"The proxy at {peer.authority}" if self._proxy else f"The server at {self._origin()}"
            raise TransportError(f"{what} can't be reached: {_reason(error)}.") from None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self._timeout_s)
            if self.address.is_tls:
                if self._proxy is not None:
                    _open_tunnel(sock, self.address)
                sock = self._wrap_tls(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _wrap_tls(self, sock: socket.socket) -> socket.socket:
        import ssl

        context = self._tls or ssl.create_default_context()
        try:
            return context.wrap_socket(sock, server_hostname=self.address.host)
        except ssl.SSLCertVerificationError as error:
            raise TransportError(
                f"The certificate of {self._origin()} is not trusted: {error.verify_message}. "
                "Point SSL_CERT_FILE at the authority that signed it."
            ) from None

    def _encode_head(self, method: str, target: str, body: bytes | None, content_type: str) -> bytes:
        through_proxy = self._proxy is not None and not self.address.is_tls
        lines = [f"{method} {self._origin() if through_proxy else ''}{target} HTTP/1.1"]
        lines.append(f"Host: {self.address.authority}")
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if body is not None or method not in ("GET", "HEAD"):
            lines += [f"Content-Type: {content_type}"] if body else []
            lines.append(f"Content-Length: {len(body or b'')}")
        if any("\r" in line or "\n" in line for line in lines):
            raise TransportError("A header or path has a line break in it.")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    def _read_reply(self, method: str, first: bytes, reader: IO[bytes], max_bytes: int) -> Reply:
        status, headers = _read_head(first, reader)
        while 100 <= status < 200 and status != 101:
            status, headers = _read_head(b"", reader)
        if method == "HEAD" or status in _BODILESS or status < 200:
            body = b""
        else:
            body = _read_body(headers, reader, max_bytes)
        delimited = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        keeps = "close" not in headers.get("connection", "").lower()
        if not keeps or not (delimited or not body):
            self.close()
        return Reply(status, headers, body)

    def _follow(self, location: str) -> str:
        """The path that a redirect names; moves to another scheme or port of the same host."""
        if location.startswith("/") and not location.startswith("//"):
            return location
        try:
            target = parse_relay_url(location)
        except ValueError as error:
            raise TransportError(f"{self._origin()} redirects to {error}.") from None
        if target.host != self.address.host or (self.address.is_tls and not target.is_tls):
            raise TransportError(
                f"{self._origin()} redirects to {location}. If that is the server, sign in there: "
                f"devyard login {'https' if target.is_tls else 'http'}://{target.authority}"
            )
        if (target.port, target.is_tls) != (self.address.port, self.address.is_tls):
            self.close()
            self.address = target._replace(prefix=self.address.prefix)
        _, _, query = location.partition("?")
        return (target.prefix or "/") + (f"?{query}" if query else "")

    def _origin(self) -> str:
        return f"{'https' if self.address.is_tls else 'http'}://{self.address.authority}"


def _has_ended(sock: socket.socket) -> bool:
    """Whether an idle connection was closed by the peer (anything to read on it means that)."""
    import select

    return bool(select.select([sock], [], [], 0)[0])


def _open_tunnel(sock: socket.socket, address: RelayAddress) -> None:
    """CONNECT through an HTTP proxy (RFC 9110, 9.3.6)."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    sock.sendall(f"CONNECT {host}:{address.port} HTTP/1.1\r\nHost: {host}:{address.port}\r\n\r\n".encode())
    got = b""
    while (head := parse_response_head(got)) is None:
        byte = sock.recv(1)
        if not byte:
            raise TransportError("The proxy ended the connection.")
        got += byte
    if head.status != 200:
        raise TransportError(f"The proxy refused to connect to {host}: status {head.status}.")


def _read_head(first: bytes, reader: IO[bytes]) -> tuple[int, dict[str, str]]:
    data = first
    while True:
        line = reader.readline(MAX_HEAD_BYTES)
        data += line
        if not line or len(data) > MAX_HEAD_BYTES:
            raise TransportError("The server's answer is no complete HTTP head.")
        if line in (b"\r\n", b"\n"):
            head = parse_response_head(data)
            if head is None:
                raise TransportError("The server's answer is no HTTP.")
            return head.status, head.headers


def _read_body(headers: dict[str, str], reader: IO[bytes], max_bytes: int) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _read_chunks(reader, max_bytes)
    length = headers.get("content-length")
    if length is None:
        body = reader.read(max_bytes + 1)
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    if not length.isdigit():
        raise TransportError("The server's answer has a malformed length.")
    if int(length) > max_bytes:
        raise _too_large(max_bytes)
    return _read_exactly(reader, int(length))


def _read_chunks(reader: IO[bytes], max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        size_text = reader.readline(1024).split(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError:
            raise TransportError("The server's answer broke off in the middle.") from None
        if size == 0:
            while reader.readline(MAX_HEAD_BYTES) not in (b"\r\n", b"\n", b""):
                pass
            return bytes(body)
        if size < 0 or len(body) + size > max_bytes:
            raise _too_large(max_bytes)
        body += _read_exactly(reader, size)
        reader.readline(16)


def _read_exactly(reader: IO[bytes], size: int) -> bytes:
    data = reader.read(size)
    if len(data) != size:
        raise TransportError("The server's answer broke off in the middle.")
    return data


def _too_large(max_bytes: int) -> TransportError:
    return TransportError(f"The server's answer is larger than {max_bytes >> 20} MiB.")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if untrusted := getattr(error, "verify_message", ""):  # ssl.SSLCertVerificationError, without loading ssl
        return f"its certificate can't be trusted ({untrusted})"
    if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS, so its URL may begin with http://"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return str(error)
