"""Probes the health of workspace apps: an answer below 500 within the interval is healthy.

Owned by program.py. `threshold` failures in a row make an app unhealthy, one success makes it healthy; only
changes are reported.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

from devyard.agent.outbox import Outbox
from devyard.net.address import RelayAddress, parse_relay_url
from devyard.net.requesthead import MAX_HEAD_BYTES, HeadError, parse_response_head
from devyard.wire.agentlink import App, AppHealths
from devyard.wire.enums import AppHealth


class AppState:
    """The health of one app from its probes. Pure."""

    def __init__(self, threshold: int) -> None:
        self.health: AppHealth = "initializing"
        self._threshold = max(1, threshold)
        self._failures = 0

    def probed(self, is_ok: bool) -> bool:
        """Takes a result; whether the health changed by it."""
        before = self.health
        self._failures = 0 if is_ok else self._failures + 1
        if is_ok:
            self.health = "healthy"
        elif self._failures >= self._threshold:
            self.health = "unhealthy"
        return self.health != before


async def watch_apps(apps: Sequence[App], outbox: Outbox) -> None:
    """Probes the apps that have a health URL, until cancelled."""
    probed = [app for app in apps if app.health_url and app.health_interval_s > 0]
    await asyncio.gather(*(_watch(app, outbox) for app in probed))


async def probe(url: str, timeout_s: float) -> bool:
    """Whether `url` answers with a status below 500 in time. A certificate is not checked: the app is local."""
    base, target = split_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            return await _get_status(parse_relay_url(base), target) < 500
    except (OSError, TimeoutError, ValueError, HeadError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False


def split_url(url: str) -> tuple[str, str]:
    """The base URL and the request target (path and query, at least /). Pure."""
    scheme, separator, rest = url.partition("://")
    end = min((index for index in map(rest.find, "/?#") if index >= 0), default=len(rest))
    target = rest[end:].partition("#")[0]
    return scheme + separator + rest[:end], target if target.startswith("/") else f"/{target}"


async def _watch(app: App, outbox: Outbox) -> None:
    state = AppState(app.health_threshold)
    while True:
        if state.probed(await probe(app.health_url, float(app.health_interval_s))):
            outbox.put(AppHealths(0, {str(app.id): state.health}))
        await asyncio.sleep(app.health_interval_s)


async def _get_status(address: RelayAddress, target: str) -> int:
    if not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError("malformed URL")
    context = None
    if address.is_tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context, limit=MAX_HEAD_BYTES)
    try:
        fields = f"Host: {address.authority}\r\nUser-Agent: devyard\r\nConnection: close\r\n\r\n"
        writer.write(f"GET {target} HTTP/1.1\r\n{fields}".encode("ascii"))
        head = parse_response_head(await reader.readuntil(b"\r\n\r\n"))
        if head is None:
            raise ValueError("malformed answer")
        return head.status
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
