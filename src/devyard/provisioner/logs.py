"""The provisioner's own log: structured lines on standard error.

Called once by the CLI before anything else runs. Invariant: standard output stays free, and no secret is ever
passed to a log call (jobs' logs are a different thing: jobs/joblog.py).
"""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "human", "json"]


def set_up_logs(log_format: LogFormat = "auto", *, is_verbose: bool = False) -> None:
    """Lines for people on a terminal, JSON otherwise, unless `log_format` says which."""
    is_human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if is_human else [structlog.processors.dict_tracebacks]),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if is_human
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if is_verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
