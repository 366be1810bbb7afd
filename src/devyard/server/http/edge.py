"""The outermost layer: every request gets an id, every reply the headers that clients and browsers expect.

Wraps the Litestar application. Also turns the refusal of a websocket into a plain HTTP reply with a status and
the usual error body, since a close code before the handshake would reach clients as 403 without a word.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from litestar.datastructures import Cookie

from devyard import REPORTED_VERSION
from devyard.server.access.rules import RequestInfo
from devyard.server.http.csrf import COOKIE as CSRF_COOKIE
from devyard.server.http.csrf import make_csrf_token
from devyard.server.http.errors import INFO, describe_error
from devyard.server.http.signin import COOKIE as SESSION_COOKIE
from devyard.server.settings import ServerSettings

log = structlog.get_logger("http")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]

FAILURE = "devyard.failure"
MAX_USER_AGENT_CHARS = 300

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Edge:
    """The ASGI application that the server runs."""

    def __init__(self, app: AsgiApp, *, is_secure: bool) -> None:
        self._app = app
        self._is_secure = is_secure
        self._headers = [*SECURITY_HEADERS, (b"x-coder-build-version", REPORTED_VERSION.encode())]
        if is_secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        info = read_request_info(scope)
        scope[INFO] = info
        with structlog.contextvars.bound_contextvars(request_id=str(info.request_id)):
            if scope["type"] == "websocket":
                await self._run_websocket(scope, receive, send, info)
            else:
                await self._run_http(scope, receive, send, info)

    async def _run_http(self, scope: Scope, receive: Receive, send: Send, info: RequestInfo) -> None:
        is_started = False
        started_s = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                headers = [*message["headers"], *self._make_headers(info), *self._make_cookies(scope)]
                message = {**message, "headers": headers}
                log.debug(
                    "answered",
                    method=scope["method"],
                    path=scope["path"],
                    status=message["status"],
                    took_ms=round((time.monotonic() - started_s) * 1000, 1),
                )
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            status, body = describe_error(error, info.request_id)
            if is_started:
                return
            await send_with_headers(_start_json("http.response.start", status))
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _run_websocket(self, scope: Scope, receive: Receive, send: Send, info: RequestInfo) -> None:
        is_answered = False

        async def refuse(error: Exception) -> None:
            nonlocal is_answered
            is_answered = True
            status, body = describe_error(error, info.request_id)
            start = _start_json("websocket.http.response.start", status)
            start["headers"] = [*start["headers"], *self._make_headers(info)]
            await send(start)
            await send({"type": "websocket.http.response.body", "body": body, "more_body": False})

        async def send_or_refuse(message: Message) -> None:
            nonlocal is_answered
            failure = scope.get(FAILURE)
            if message["type"] == "websocket.close" and not is_answered and isinstance(failure, Exception):
                await refuse(failure)
                return
            if message["type"] == "websocket.accept":
                is_answered = True
                headers = [*message.get("headers", []), *self._make_headers(info)]
                message = {**message, "headers": headers}
            elif message["type"] == "websocket.close" and is_answered and isinstance(failure, Exception):
                describe_error(failure, info.request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_or_refuse)
        except Exception as error:
            if is_answered:
                describe_error(error, info.request_id)
            else:
                await refuse(error)

    def _make_headers(self, info: RequestInfo) -> list[tuple[bytes, bytes]]:
        request_id = str(info.request_id).encode()
        return [*self._headers, (b"x-request-id", request_id), (b"x-coder-request-id", request_id)]

    def _make_cookies(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The CSRF cookie of the session whose cookie came along, unless it came along too."""
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie").decode("latin-1")
        if f"{SESSION_COOKIE}=" not in header:
            return []
        cookies = dict(part.strip().partition("=")[::2] for part in header.split(";"))
        session = cookies.get(SESSION_COOKIE, "")
        wanted = make_csrf_token(session)
        if not session or cookies.get(CSRF_COOKIE) == wanted:
            return []
        return [(b"set-cookie", make_csrf_cookie(wanted, is_secure=self._is_secure).encode())]


def make_csrf_cookie(value: str, *, is_secure: bool) -> str:
    """The header text of the CSRF cookie; scripts of our own origin read it."""
    return f"{CSRF_COOKIE}={value}; Path=/; SameSite=Lax" + ("; Secure" if is_secure else "")


def make_session_cookies(token: str, settings: ServerSettings) -> list[Cookie]:
    """The cookies of a browser's session; an empty token takes them away."""
    is_secure = urlsplit(settings.access_url).scheme == "https"
    age = int(settings.session_duration.total_seconds()) if token else 0
    proof = make_csrf_token(token) if token else ""
    return [
        Cookie(SESSION_COOKIE, value=token, max_age=age, httponly=True, secure=is_secure, samesite="lax"),
        Cookie(CSRF_COOKIE, value=proof, max_age=age, httponly=False, secure=is_secure, samesite="lax"),
    ]


def read_request_info(scope: Scope) -> RequestInfo:
    """Id, address and user agent of a request."""
    client = scope.get("client")
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return RequestInfo(
        request_id=uuid4(),
        ip=client[0] if client else "",
        user_agent=agent.decode("latin-1")[:MAX_USER_AGENT_CHARS],
    )


async def keep_failure(error: Exception, scope: Any) -> None:
    """An `after_exception` hook: leaves a websocket's failure where the edge finds it."""
    if scope["type"] == "websocket":
        scope[FAILURE] = error


def _start_json(kind: str, status: int) -> dict[str, Any]:
    return {"type": kind, "status": status, "headers": [(b"content-type", b"application/json")]}
