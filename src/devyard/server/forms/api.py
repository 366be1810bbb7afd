"""Routes of forms: one answer, or a WebSocket that answers as the user types."""

import asyncio
import time
from typing import Any

import msgspec
import structlog
from litestar import post, websocket
from litestar.exceptions import WebSocketDisconnect

from devyard.server.access.rules import Actor
from devyard.server.forms.actions import OpenForm, fill_form, open_form
from devyard.server.forms.views import failure_view, response_view
from devyard.server.http.errors import decide_error
from devyard.server.http.guard import needs
from devyard.server.http.ids import parse_id
from devyard.server.http.limits import WindowCount
from devyard.server.http.streams import AnySocket
from devyard.server.services import Services
from devyard.server.templates.lookup import load_version
from devyard.server.templates.version_queries import VersionRow
from devyard.server.workspaces.owners import load_user_id
from devyard.wire.forms import FIRST_ID, DynamicParametersRequest, DynamicParametersResponse

VERSION = "/templateversions/{version:str}/dynamic-parameters"
MAX_MESSAGE_CHARS = 256 * 1024
MAX_MESSAGES = 300
WINDOW_S = 10.0
RELOAD_S = 30.0
"""How old the version and the workspace's values may be that an open form is worked out from."""

REFUSED, TOO_LARGE, TOO_MANY = 1003, 1009, 1008

log = structlog.get_logger("forms")


@post(f"{VERSION}/evaluate", opt=needs("template:use"), status_code=200)
async def evaluate(
    actor: Actor, services: Services, version: str, data: DynamicParametersRequest
) -> DynamicParametersResponse:
    """Work out a version's parameters for the values given."""
    row = await load_version(services.pool, actor, version, "template:use")
    form = await open_form(services, actor, row, data.owner_id, data.workspace_id)
    return response_view(data.id, await fill_form(services, actor, form, data), form.previous)


@websocket(VERSION, opt=needs("template:use"))
async def follow_form(
    socket: AnySocket,
    actor: Actor,
    services: Services,
    version: str,
    user_id: str = "me",
    workspace_id: str = "",
) -> None:
    """Work out a version's parameters as values change; the first answer comes unasked."""
    row = await load_version(services.pool, actor, version, "template:use")
    first = DynamicParametersRequest(
        id=FIRST_ID,
        owner_id=await load_user_id(services.pool, actor, user_id),
        workspace_id=parse_id("workspace_id", workspace_id) if workspace_id else None,
    )
    session = _Session(services, actor, row, first)
    with services.forms.opened(actor.user_id):
        await session.open()
        await socket.accept()
        await session.run(socket)


class _Session:
    """One open form. Of the requests that wait only the newest is kept."""

    def __init__(
        self, services: Services, actor: Actor, version: VersionRow, first: DynamicParametersRequest
    ) -> None:
        self._services = services
        self._actor = actor
        self._version = version
        self._first = first
        self._newest: DynamicParametersRequest | None = first
        self._woken = asyncio.Event()
        self._form: OpenForm | None = None
        self._whose: tuple[object, object] = (None, None)
        self._loaded_at = 0.0

    async def open(self) -> None:
        """Raises what `open_form` does, for who may not fill in this form at all."""
        await self._load_form(self._first)

    async def run(self, socket: AnySocket) -> None:
        """Answers until either side ends."""
        tasks = [asyncio.create_task(self._read(socket)), asyncio.create_task(self._write(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception) and not isinstance(outcome, WebSocketDisconnect):
                log.error("a form's connection failed", exc_info=outcome)

    async def _read(self, socket: AnySocket) -> None:
        count = WindowCount(MAX_MESSAGES, WINDOW_S)
        while True:
            text = await socket.receive_text()
            if len(text) > MAX_MESSAGE_CHARS:
                return await socket.close(TOO_LARGE, f"a message has at most {MAX_MESSAGE_CHARS} characters")
            if not count.take("", time.monotonic()):
                return await socket.close(TOO_MANY, "messages come too fast")
            try:
                self._newest = msgspec.json.decode(text, type=DynamicParametersRequest)
            except msgspec.MsgspecError as error:
                return await socket.close(REFUSED, f"a message can't be understood: {error}"[:120])
            self._woken.set()

    async def _write(self, socket: AnySocket) -> None:
        while True:
            request, self._newest = self._newest, None
            if request is not None:
                answer = await self._answer(request)
                await socket.send_text(msgspec.json.encode(answer).decode())
            if self._newest is None:
                await self._woken.wait()
            self._woken.clear()

    async def _answer(self, request: DynamicParametersRequest) -> DynamicParametersResponse:
        try:
            form = await self._load_form(request)
            answer = await fill_form(self._services, self._actor, form, request)
        except Exception as error:
            refusal = decide_error(error)
            if refusal.status >= 500 and refusal.status != 503:
                log.error("a form failed", version_id=str(self._version.id), exc_info=error)
            details = " ".join(validation.detail for validation in refusal.validations or ())
            return failure_view(request.id, details or refusal.message)
        return response_view(request.id, answer, form.previous)

    async def _load_form(self, request: DynamicParametersRequest) -> OpenForm:
        owner_id = request.owner_id or self._first.owner_id
        workspace_id = request.workspace_id or self._first.workspace_id
        is_old = time.monotonic() - self._loaded_at > RELOAD_S
        if self._form is None or is_old or self._whose != (owner_id, workspace_id):
            self._form = await open_form(self._services, self._actor, self._version, owner_id, workspace_id)
            self._whose = (owner_id, workspace_id)
            self._loaded_at = time.monotonic()
        return self._form


routes: list[Any] = [evaluate, follow_form]
