"""One stream of log lines on stderr: ours, aiohttp's and Python's warnings."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO
from urllib.parse import unquote_plus

from gateway.telemetry.plain_structlog import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import EventDict, Processor, WrappedLogger

    from gateway.settings import LogFormat, LogLevel, RequestLevel

SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "key",
        "password",
        "rk",
        "secret",
        "sig",
        "signature",
        "token",
    }
)
NAME = "headgate"
REDACTED = "[redacted]"
_MAY_BE_SECRET = re.compile(f"[?&](?:{'|'.join(sorted(SECRET_PARAMETERS))})=", re.IGNORECASE)
LEVELS = logging.getLevelNamesMapping()
# With the marks that turn text around, by which a name could be shown as another.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(NAME)


def configure(level: LogLevel, format: LogFormat) -> None:  # noqa: A002 - the setting's word
    """Send every log line of the process to stderr, in one shape."""
    global _written
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _stamp,
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
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
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if _is_json(format) else _console()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level.upper()])
    render = _json_line if _is_json(format) else partial(_rendered, _console())
    _written = _Written(render, sys.stderr, structlog.contextvars.get_contextvars())
    # It writes whole URLs, tokens included; `access_log` stands in its place.
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(capture=True)


def requests_logged(level: RequestLevel) -> bool:
    """Return whether lines of this level are written."""
    return level != "off" and logging.getLogger(NAME).isEnabledFor(LEVELS[level.upper()])


class _Written(NamedTuple):
    """The end of the chain of processors: how an event becomes a line, and where that goes."""

    render: Callable[[EventDict], str]
    stream: TextIO
    bound: EventDict  # fields of every line of this process


_written: _Written | None = None  # from `configure` on


def write(level: str, event: str, fields: EventDict) -> None:
    """Write the line that `log` would write, without its chain of processors.

    The chain takes ten times as long, which counts for a line that each request writes. Whoever
    calls has looked at the level.
    """
    if _written is None:
        log.log(LEVELS[level.upper()], event, **fields)
        return
    said = {"level": level, "event": event, **fields, **_written.bound, "logger": NAME}
    line = {**_stamp(None, level, {}), **said}
    try:
        _written.stream.write(_written.render(line) + "\n")
    except (OSError, ValueError):  # nobody reads what is logged
        return


def redact(target: str) -> str:
    """Return a request target without the values of secret query parameters."""
    if "%" not in target and _MAY_BE_SECRET.search(target) is None:
        return target
    path, mark, query = target.partition("?")
    return path + mark + "&".join(map(_redact_pair, query.split("&")))


def _redact_pair(pair: str) -> str:
    name, mark, _ = pair.partition("=")
    return (
        name + mark + REDACTED if mark and unquote_plus(name).lower() in SECRET_PARAMETERS else pair
    )


def _is_json(format: LogFormat) -> bool:  # noqa: A002 - the setting's word
    return format == "json" or (format == "auto" and not sys.stderr.isatty())


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _known_fields_first,
        structlog.processors.JSONRenderer(),
    ]


_json_line = json.JSONEncoder().encode


def _rendered(processors: Sequence[Processor], event: EventDict) -> str:
    """Return an event as the processors leave it, the last of which makes a line of it."""
    line: Any = event
    for process in processors:
        line = process(None, "", line)
    return str(line)


def _console() -> list[Processor]:
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return [
        _escape_controls,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            timestamp_key="ts",
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _known_fields_first(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {**{key: event.pop(key) for key in ("ts", "level", "event")}, **event}


def _escape_controls(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """What clients send must not break a line in two, nor speak to the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = CONTROLS.sub(lambda match: ascii(match[0])[1:-1], value)
    return event
