"""Structured logging to stderr: for a terminal, for a machine, or for journald.

Call ``configure`` once; take loggers with ``structlog.get_logger()``. What libraries say
through ``logging`` (asyncio) comes out the same way.

=========  ================================================================================
format     a line
=========  ================================================================================
text       ``2026-01-31T12:00:00Z [info     ] ready    services=2``, in colour on a terminal
json       ``{"services": 2, "event": "ready", "level": "info", "timestamp": "…"}``
journal    ``<6>ready services=2``: journald takes the priority off and adds the time
auto       journal under systemd, text on a terminal, json otherwise
=========  ================================================================================
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer

from lvsd.journald import PRIORITIES, is_journal
from lvsd.printable import printable, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

_QUOTED = frozenset(" \t=\r\n\"'")
"""What structlog's renderer for terminals shows a value in quotes for, with escapes."""


def configure(level: str, format: str) -> None:  # noqa: A002 - the configuration's own word
    """Log to stderr from now on, messages of ``level`` and above, in ``format``.

    ``level`` is debug, info, warning or error; ``format`` as in the table above. May be called
    again. A stderr that cannot be written to is no error: the packets go on.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    if format == "auto":
        format = detect()  # noqa: A001 - same reason
    stamp: list[Processor] = []
    if format != "journal":
        stamp = [structlog.processors.TimeStamper(fmt="iso", utc=True)]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        *stamp,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(format)],
        )
    )
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=number, force=True)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def set_level(level: str) -> None:
    """Log messages of this level and above from now on, in the format as before."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger().setLevel(number)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))


def detect(environ: Mapping[str, str] = os.environ) -> str:
    """Return the format that suits stderr: journal, text or json."""
    if is_journal(environ):
        return "journal"
    return "text" if _is_terminal() else "json"


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _renderers(format: str) -> list[Processor]:  # noqa: A002 - same reason
    match format:
        case "text":
            colours = _is_terminal() and "NO_COLOR" not in os.environ
            return [
                _escaped,
                structlog.dev.ConsoleRenderer(
                    colors=colours, exception_formatter=structlog.dev.plain_traceback
                ),
            ]
        case "json":
            return [
                structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                structlog.processors.JSONRenderer(lambda event, **_: to_json(event)),
            ]
        case "journal":
            return [structlog.processors.format_exc_info, _journal_line]
        case _:
            raise ValueError(f"{format!r} is no log format: auto, text, json, journal")


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what a terminal would obey; a value with a space or a quote is quoted later anyway."""
    for key, value in event.items():
        if isinstance(value, str) and not (value.isprintable() or set(value) & _QUOTED):
            event[key] = printable(value)
    event["event"] = printable(str(event["event"]))
    return event


def _journal_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Return ``<priority>event key=value ...``, every line of a traceback with its priority."""
    mark = f"<{PRIORITIES[event.pop('level')]}>"
    trace = event.pop("exception", "")
    words = [str(event.pop("event")), *(f"{key}={_value(value)}" for key, value in event.items())]
    lines = [" ".join(" ".join(words).splitlines()), *trace.splitlines()]
    return "\n".join(mark + printable(line) for line in lines)


def _value(value: object) -> str:
    """Return a value as one word, in quotes where it is not one."""
    text = str(value)
    plain = text.isprintable() and text and not any(mark in text for mark in ' "=')
    return text if plain else repr(text)
