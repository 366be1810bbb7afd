"""Errors that cross the wire: one tree, named by meaning, rebuilt by the SDK as the same classes.

    AppError
    ├── BadRequest 400 ── Invalid 400 (validations) ── UnknownFilter 400
    ├── Unauthenticated 401
    ├── Forbidden 403
    ├── NotFound 404
    ├── Conflict 409
    ├── PreconditionFailed 412
    ├── TooLarge 413
    ├── UnsupportedMedia 415
    ├── Misdirected 421
    ├── RateLimited 429
    ├── Internal 500
    └── Unavailable 503

HTTP exists only at the edge: business code raises these, `server/http/errors.py` writes them as `Response`.
"""

from typing import Any, ClassVar

import msgspec


class ValidationError(msgspec.Struct, frozen=True):
    """One field that was refused, and what is allowed."""

    field: str
    detail: str


class Response(msgspec.Struct, omit_defaults=True):
    """The body of every error, and of writes that answer with a sentence."""

    message: str
    detail: str = ""
    validations: list[ValidationError] = msgspec.field(default_factory=list)
    code: str = ""
    request_id: str = ""


class AppError(Exception):
    """A refusal that a caller can act on: `message` says what happened, to what, and what to do now."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, detail: str = "", validations: list[ValidationError] | None = None, **data: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.validations = validations or []
        self.data = data
        self.request_id = ""

    def __str__(self) -> str:
        parts = [self.message]
        if self.detail and self.detail != self.message:
            parts.append(self.detail)
        parts += [f"{v.field}: {v.detail}" for v in self.validations]
        return "\n".join(parts)


class BadRequest(AppError):
    """The request makes no sense as it stands."""

    status, code = 400, "bad_request"


class Invalid(BadRequest):
    """Fields were refused; `validations` names each."""

    code = "invalid"


class UnknownFilter(BadRequest):
    """A `q` term that the list does not know."""

    code = "unknown_filter"


class Unauthenticated(AppError):
    """Nobody is signed in, or the session has ended."""

    status, code = 401, "unauthenticated"


class Forbidden(AppError):
    """Signed in, the thing is visible, but this action is not allowed."""

    status, code = 403, "forbidden"


class NotFound(AppError):
    """Not there, or not for the caller's eyes; the two are indistinguishable."""

    status, code = 404, "not_found"

    def __init__(
        self, message: str = "Resource not found or you do not have access to this resource", **kwargs: Any
    ) -> None:
        super().__init__(message, **kwargs)


class Conflict(AppError):
    """The thing's present state forbids it: a name in use, another build active."""

    status, code = 409, "conflict"


class PreconditionFailed(AppError):
    """Something that must come first has not happened."""

    status, code = 412, "precondition_failed"


class TooLarge(AppError):
    """The body is over the limit that the message names."""

    status, code = 413, "too_large"


class UnsupportedMedia(AppError):
    """The content type is not one of those that the message names."""

    status, code = 415, "unsupported_media"


class Misdirected(AppError):
    """The request belongs to the relay; open a new connection (RFC 9110, 15.5.20)."""

    status, code = 421, "misdirected"


class RateLimited(AppError):
    """Too many requests; wait as the reply says."""

    status, code = 429, "rate_limited"


class Internal(AppError):
    """A defect of ours; the request id leads to its log line."""


class Unavailable(AppError):
    """Something needed is away for the moment; trying again is right."""

    status, code = 503, "unavailable"


def _leaves(cls: type[AppError]) -> list[type[AppError]]:
    return [cls, *[leaf for child in cls.__subclasses__() for leaf in _leaves(child)]]


BY_CODE: dict[str, type[AppError]] = {cls.code: cls for cls in _leaves(AppError)}
BY_STATUS: dict[int, type[AppError]] = {cls.status: cls for cls in reversed(_leaves(AppError))}


def rebuild_error(status: int, body: bytes) -> AppError:
    """The error that the server raised, from its reply; a body that is not ours becomes the detail."""
    try:
        reply = msgspec.json.decode(body, type=Response)
    except msgspec.MsgspecError:
        text = body[:2000].decode("utf-8", "replace").strip()
        reply = Response(message=f"The server answered with status {status}.", detail=text)
    cls = BY_CODE.get(reply.code) or BY_STATUS.get(status, AppError)
    error = cls(reply.message, detail=reply.detail, validations=reply.validations)
    error.request_id = reply.request_id
    return error
