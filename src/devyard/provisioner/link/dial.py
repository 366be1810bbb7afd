"""How a provisioner reaches its server: one WebSocket, opened with its key.

Called by the session. Invariant: the key travels in a header only, and every failure becomes a sentence.
"""

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from devyard import __version__
from devyard.wire.provisionerlink import KEY_HEADER, MAX_MESSAGE_BYTES, SERVE_PATH

_PING_S = 5.0


class Identity(msgspec.Struct, frozen=True):
    """Who this provisioner is. `url`: the server's; `key`: secret."""

    url: str
    key: str
    name: str
    tags: Mapping[str, str]
    organization: str = "default"


def open_socket(identity: Identity) -> connect:
    """The WebSocket, as an asynchronous context manager."""
    path = SERVE_PATH.format(organization=quote(identity.organization, safe=""))
    return connect(
        _websocket_url(identity.url) + path,
        additional_headers={KEY_HEADER: identity.key},
        user_agent_header=f"devyard-provisioner/{__version__}",
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
        open_timeout=10,
        ping_interval=_PING_S,
        ping_timeout=2 * _PING_S,
        close_timeout=1,
        proxy=None if _is_local(identity.url) else True,
    )


def explain_failure(error: BaseException) -> str:
    """Why the server could not be reached, for the log."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (401, 403):
            return f"the server refused the key (status {status}); check --key, --key-file and the tags"
        return f"the server answered with status {status}"
    return str(error) or type(error).__name__


def _websocket_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
