"""The one place where an exception becomes an HTTP reply.

Every error is a `Response` body with a status; defects of ours are logged once, with the request id that also
stands in the reply. Business code knows nothing of this.
"""

import re
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from litestar import Request
from litestar import Response as HttpResponse
from litestar.exceptions import HTTPException, LitestarException, NotFoundException, ValidationException

from devyard.server.db.pool import translate
from devyard.wire.errors import BY_STATUS, AppError, Internal, Invalid, Response, ValidationError

log = structlog.get_logger("http")
_MISSING = re.compile(r"missing required field `([^`]*)`")

INFO = "devyard.request"
"""Where the edge keeps a request's `RequestInfo` in the ASGI scope."""

_PATH = re.compile(r" - at `\$\.?([^`]*)`")


def describe_error(error: Exception, request_id: UUID) -> tuple[int, bytes]:
    """Status and JSON body for any exception."""
    app_error = decide_error(error)
    if app_error.status >= 500:
        log.error("request failed", request_id=str(request_id), error=repr(error), exc_info=error)
    body = Response(
        message=app_error.message,
        detail=app_error.detail,
        validations=app_error.validations,
        code=app_error.code,
        request_id=str(request_id),
    )
    return app_error.status, msgspec.json.encode(body)


def decide_error(error: Exception) -> AppError:
    """The domain's error for any exception; what nobody foresaw is `Internal` and says nothing about itself."""
    translated = translate(error)
    if isinstance(translated, AppError):
        return translated
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, NotFoundException):
        return _of_status(404, "Route not found.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _of_status(error.status_code, _sentence(error.status_code, error.detail))
    if isinstance(error, asyncpg.QueryCanceledError | TimeoutError):
        return _of_status(503, "The database took too long to answer; try again shortly.")
    return Internal("Something went wrong on the server. Its log has the details under the request id.")


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> HttpResponse[bytes]:
    """Litestar's exception handler for everything."""
    info = request.scope[INFO]  # type: ignore[literal-required]
    status, body = describe_error(error, info.request_id)
    headers = getattr(error, "headers", None) if isinstance(error, LitestarException) else None
    return HttpResponse(body, status_code=status, media_type="application/json", headers=headers)


def _of_status(status: int, message: str) -> AppError:
    cls = BY_STATUS.get(status)
    if cls is not None:
        return cls(message)
    error = AppError(message)
    error.status, error.code = status, "http"  # type: ignore[misc]
    return error


def _sentence(status: int, detail: str) -> str:
    if status == 405:
        return "This route does not know that method."
    if status == 413:
        return "The request's body is too large."
    return detail or "The request was refused."


def _invalid(error: ValidationException) -> Invalid:
    validations = []
    for item in error.extra if isinstance(error.extra, list) else []:
        text = str(item.get("message", ""))
        match = _PATH.search(text)
        field = str(item.get("key") or (match[1] if match else "") or "body")
        if missing := _MISSING.search(text):
            inside = "" if field in ("data", "body") else f"{field}."
            validations.append(ValidationError(inside + missing[1], "Is required."))
            continue
        validations.append(ValidationError(field, _PATH.sub("", text) or "Was refused."))
    if not validations:
        validations = [ValidationError("body", str(error.detail))]
    return Invalid("The request was refused; see validations for the fields and why.", validations=validations)
