"""One form for all log lines of a process, ours and those of libraries: text for people, JSON for machines."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal, TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor

from codex_lb.kit.redact import redact_event

LogFormat: TypeAlias = Literal["text", "json"]

# Libraries that would tell every request or every query at INFO.
QUIET = ("aiohttp.access", "alembic", "asyncio", "grpc", "httpcore", "httpx", "sqlalchemy", "uvicorn")

_AMBIGUOUS = re.compile(r"[\s=\"']")

_GATHERING: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(format: LogFormat, level: str, *, stream: TextIO | None = None) -> None:  # noqa: A002
    """From now on every logger of the process writes to `stream` (standard error) in this form.

    `level` is DEBUG, INFO, WARNING or ERROR, in any case; raises ValueError for another.
    """
    stream = stream or sys.stderr
    finishing: tuple[Processor, ...] = (
        structlog.processors.format_exc_info,
        redact_event,  # after the traceback is text, before anything is rendered
        *_rendering(format, colours=stream.isatty()),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_GATHERING, structlog.stdlib.ExtraAdder(), _without_colour_twin],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finishing],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    # Our own lines go straight to the stream: by way of the standard library's loggers a line costs twice as much.
    structlog.configure(
        processors=[*_GATHERING, structlog.processors.StackInfoRenderer(), *finishing],
        logger_factory=partial(_Lines, stream),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Writes rendered lines; whole ones, whichever thread they come from."""

    def __init__(self, stream: TextIO, name: str = "") -> None:
        self._stream = stream
        self.name = name

    def write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = write


def log_context(**fields: str) -> AbstractContextManager[None]:
    """Inside the `with`, every line of this task and its children carries the fields, such as `request_id`."""
    return structlog.contextvars.bound_contextvars(**fields)


def _rendering(format: LogFormat, *, colours: bool) -> tuple[Processor, ...]:  # noqa: A002
    if format == "json":
        return (structlog.processors.JSONRenderer(ensure_ascii=False),)
    if not colours:
        return (_with_indented_blocks, _line_of)
    return (_with_indented_blocks, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))


def _line_of(_logger: object, _method: str, event: EventDict) -> str:
    """A line as structlog's console renderer writes it without colours, at a third of its cost."""
    blocks = [event.pop(name) for name in ("stack", "exception") if name in event]
    head = f"{event.pop('timestamp', '')} [{event.pop('level', ''):<9}] {event.pop('event', ''):<30}"
    if name := event.pop("logger", ""):
        head += f" [{name}]"
    fields = [f"{name}={_shown(value)}" for name, value in sorted(event.items())]
    return "\n".join([" ".join([head, *fields]), *blocks])


def _shown(value: object) -> str:
    """A field's value: bare where that cannot be misread."""
    if isinstance(value, str) and value and value.isprintable() and not _AMBIGUOUS.search(value):
        return value
    return repr(value)


def _with_indented_blocks(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Sets tracebacks off, so that a line inside an error message cannot pass for a log line."""
    for name in ("exception", "stack"):
        if name in event:
            event[name] = "\n".join(f"  | {line}" for line in str(event[name]).splitlines())
    return event


def _without_colour_twin(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Drops the second, coloured copy of the message that uvicorn adds."""
    event.pop("color_message", None)
    return event
