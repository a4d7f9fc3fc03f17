"""Log lines: a constant sentence and facts. JSON for machines, pretty on a terminal."""

import logging
import sys
from typing import Literal

import structlog

_state = {"json at info": False}


def configure(log_format: Literal["auto", "json", "pretty"], level: str) -> None:
    """To standard error, where s6-log and `docker logs` read it; what libraries log goes the same way."""
    pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        # structlog's own choice, where rich is installed, takes seconds and prints local variables, secrets among them
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(sort_keys=False)
    )
    exceptions = [] if pretty else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *exceptions,
            _sentence_first,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        # modules keep their loggers: a cached one would go on writing to a standard error that was replaced
        cache_logger_on_first_use=False,
    )
    _state["json at info"] = not pretty and logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
    # used by records that no handler takes, so a program or a test that has handlers of its own keeps them
    logging.lastResort = _Foreign(logging.WARNING)


def writes_json_at_info() -> bool:
    """For the one line that is too frequent for structlog."""
    return _state["json at info"]


def _sentence_first(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """When, how bad, what; then the facts: the order in which a person reads a line of JSON."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return head | dict(event)


class _Foreign(logging.Handler):
    """Records of the standard library's logging, such as asyncio's about an exception that nobody awaited."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def get_logger() -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
