"""The REST API as typed calls: encodes requests, decodes replies, rebuilds the server's errors.

Every file of this package beside it is one subject's calls over a `Client`. Synchronous, because its main user
is a command that lives for a fraction of a second. Replies are decoded by the wire types, nothing more of them
is imported than the caller needs.
"""

from typing import TYPE_CHECKING, TypeVar

import msgspec

from devyard.sdk.http import MAX_REPLY_BYTES, HttpConnection, TransportError
from devyard.wire.errors import Unavailable, rebuild_error

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

SESSION_HEADER = "Coder-Session-Token"
API = "/api/v2"
NOT_MODIFIED = 304
"""A write that would change nothing; it is well."""
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Unreachable(Unavailable):
    """There was no reply at all; `url` is the server that was asked."""

    code = "unreachable"


class Client:
    """One server and one caller's token. Not for use by two threads at once: take one each."""

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        headers: dict[str, str] | None = None,
        user_agent: str = "devyard",
        timeout_s: float = 60.0,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        """`headers` win over the session header. Raises ValueError for a malformed URL."""
        self.url = url.rstrip("/")
        self.token = token
        self.server_version = ""
        sent = {"User-Agent": user_agent, "Accept": "application/json"}
        if token:
            sent[SESSION_HEADER] = token
        self.headers = {**sent, **(headers or {})}
        self.timeout_s = timeout_s
        self._tls = tls
        self._connection = HttpConnection(self.url, headers=self.headers, timeout_s=timeout_s, tls=tls)

    def get(self, path: str, type_: type[T], **query: str | int | bool | None) -> T:
        """GET below `/api/v2`, decoded. Raises AppError leaves; Unreachable without a reply."""
        return self._decode(self.get_bytes(path, **query), type_)

    def get_bytes(self, path: str, **query: str | int | bool | None) -> bytes:
        """GET below `/api/v2`, as it came."""
        return self.exchange("GET", API + path + encode_query(query))

    def send(self, method: str, path: str, body: object, type_: type[T]) -> T:
        """A write below `/api/v2` whose reply is wanted."""
        return self._decode(self._write(method, path, body), type_)

    def do(self, method: str, path: str, body: object = None) -> None:
        """A write below `/api/v2` whose reply says no more than its status."""
        self._write(method, path, body)

    def upload(self, path: str, data: bytes, content_type: str, type_: type[T]) -> T:
        """POST of raw bytes below `/api/v2`."""
        return self._decode(self.exchange("POST", API + path, data, content_type), type_)

    def exchange(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> bytes:
        """The body of a good reply. `target` begins below the server's URL. Raises AppError leaves."""
        try:
            reply = self._connection.request(
                method, target, body=body, content_type=content_type, max_bytes=max_bytes
            )
        except TransportError as error:
            raise Unreachable(str(error)) from error
        self.server_version = reply.headers.get("x-coder-build-version", self.server_version)
        if not 200 <= reply.status < 300 and reply.status != NOT_MODIFIED:
            if not reply.body.lstrip().startswith(b"{"):
                raise Unavailable(self._explain_stranger(reply.status))
            raise rebuild_error(reply.status, reply.body)
        return reply.body

    def close(self) -> None:
        """Ends the kept connection."""
        self._connection.close()

    def twin(self) -> "Client":
        """The same server and caller on a connection of its own, for another thread."""
        twin = Client(self.url, timeout_s=self.timeout_s, tls=self._tls, headers=self.headers)
        twin.token = self.token
        return twin

    def _write(self, method: str, path: str, body: object) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        return self.exchange(method, API + path, data)

    def _explain_stranger(self, status: int) -> str:
        """What an error that is not the API's means: another server, or a proxy in front of ours."""
        if status in (502, 503, 504):
            return f"{self.url} answered with status {status}: a proxy there does not reach the Devyard server."
        return f"{self.url} answered with status {status}, and not as a Devyard server does. Is the URL right?"

    def _decode(self, data: bytes, type_: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=type_)
        except msgspec.MsgspecError as error:
            version = self.server_version or "an unknown version"
            raise Unavailable(
                f"The answer of {self.url} can't be read ({error}). It runs {version}: is this a Devyard server, "
                "and is this client of its version?"
            ) from None


def segment(text: object) -> str:
    """A path segment, percent-encoded: whatever a user typed can't leave its place."""
    encoded = "".join(chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in str(text).encode())
    if encoded in ("", ".", ".."):
        raise ValueError(f"{text!r} can't be a name.")
    return encoded


def encode_query(query: dict[str, str | int | bool | None]) -> str:
    """`?a=b&c=d` of what is not None, or nothing."""
    parts = []
    for name, value in query.items():
        if value is not None:
            text = ("true" if value else "false") if isinstance(value, bool) else str(value)
            parts.append(f"{name}={segment(text) if text not in ('', '.', '..') else text}")
    return "?" + "&".join(parts) if parts else ""
