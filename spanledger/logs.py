"""Logging of the process: structlog events and the libraries' own loggers, all to stderr in one format.

stdout belongs to the ready line of `serve` and to the answers of the other commands.
"""

import logging
import sys
from typing import Any, Final

import structlog

# Loggers that say at INFO what the server says better itself.
_QUIETER: Final = ("uvicorn.error", "httpx", "httpcore")


def configure(level: str, log_format: str) -> None:
    """Send every log line to stderr. `log_format` is console, json, or auto (console when stderr is a terminal)."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quieter = logging.DEBUG if level == "debug" else logging.WARNING
    for name in _QUIETER:
        logging.getLogger(name).setLevel(quieter)
