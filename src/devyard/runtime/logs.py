"""Structured logs of every process: one line per event on standard error, for people or as JSON.

`set_up_logs` is called once at the start of a process. Records of the standard `logging` module (uvicorn, asyncio,
libraries) take the same way. Values of fields whose name speaks of a secret never reach the output; request ids
and the like are bound by their owners with `structlog.contextvars`.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

LogFormat = Literal["human", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"(token|passw(or)?d|secret|ticket|authorization|cookie|private_?key|internal_?key|api_?key|postgres_url|dsn)",
    re.IGNORECASE,
)
_HARMLESS_NAMES = frozenset({"token_id", "token_name", "key_id", "ticket_kind", "ticket_expires_at"})
_SECRET_IN_TEXT = re.compile(
    r"(?i)(bearer\s+)[\w.~+/=-]+|(://[^/\s:@]*:)[^@\s/]+(?=@)|([?&](?:token|password|secret|ticket|code|state)=)[^&\s\"']+"
)
MAX_DEPTH = 6


def set_up_logs(format_: LogFormat, level: LogLevel, **fields: str) -> None:
    """Configures structlog and `logging` of this process; `fields` stand in every line (program, process name)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_fields(fields),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(format_),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "uvicorn.error", "asyncssh", "websockets"):
        logging.getLogger(noisy).setLevel("DEBUG" if level == "debug" else "WARNING")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that blanks secrets: by field name at any depth, and bearer tokens and URL passwords in
    texts.
    """
    for name in list(event):
        event[name] = _redact_value(name, event[name], MAX_DEPTH)
    return event


def _redact_value(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if name not in _HARMLESS_NAMES and _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_IN_TEXT.sub(lambda m: (m[1] or m[2] or m[3]) + REDACTED, value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _redact_value(str(key), inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value("", inner, depth - 1) for inner in value]
    return value


def _rendering(format_: LogFormat) -> list[structlog.typing.Processor]:
    if format_ == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            redact,
            structlog.processors.JSONRenderer(default=str),
        ]
    return [
        structlog.processors.format_exc_info,
        redact,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), timestamp_key="time", pad_event_to=28, sort_keys=False
        ),
    ]


def _add_fields(fields: Mapping[str, str]) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in fields.items():
            event.setdefault(name, value)
        return event

    return add
